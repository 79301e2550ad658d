"""Routes on processes: cleanup, emergency recovery, list."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from drover.api.reports import cleanup_json, emergency_json, processes_json
from drover.api.validation import Nothing, Strict
from drover.core.errors import CleanupIncomplete
from drover.web.request_parsing import read_body, read_query
from drover.web.services import request_deadline, services
from process_cleanup import Trigger

blueprint = Blueprint("maintenance", __name__)


class CleanupQuery(Strict):
    """The parameters of `POST /cleanup_orphaned_processes`."""

    dry_run: bool = False
    """Change nothing; only report what a cleanup would do."""


@blueprint.post("/cleanup_orphaned_processes")
def cleanup_orphaned_processes() -> Response:
    """End orphans and spare what sessions use."""
    query = read_query(CleanupQuery)
    read_body(Nothing)
    report = services().cleaner.cleanup(Trigger.PERSON, dry_run=query.dry_run, deadline=request_deadline())
    response = jsonify(cleanup_json(report, _active_sessions()))
    response.status_code = CleanupIncomplete.status if report.failed else HTTPStatus.OK
    return response


@blueprint.post("/emergency_recovery")
def emergency_recovery() -> Response:
    """End every Chrome on the machine and clear every session."""
    read_query(Nothing)
    read_body(Nothing)
    report = services().emergency.run(request_deadline())
    body = emergency_json(report, _active_sessions())
    response = jsonify(body)
    response.status_code = HTTPStatus.OK if body["success"] else CleanupIncomplete.status
    return response


@blueprint.get("/processes")
def list_processes() -> Response:
    """Return every Chrome and ChromeDriver process with its verdict."""
    read_query(Nothing)
    plan = services().cleaner.survey()
    return jsonify(processes_json(plan))


def _active_sessions() -> int:
    return len(services().sessions.sessions())
