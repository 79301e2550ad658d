"""Routes on the service itself."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from drover.api.validation import Nothing
from drover.core.errors import ShuttingDown
from drover.core.logs import rfc3339
from drover.core.version import VERSION
from drover.web.metrics import CONTENT_TYPE
from drover.web.request_parsing import read_body, read_query
from drover.web.services import Readiness, services

blueprint = Blueprint("service", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Return whether the service can hand out browsers, and how many places are used."""
    read_query(Nothing)
    places = services().sessions
    sessions = places.sessions()
    reason = services().unavailable
    response = jsonify(
        success=not reason,
        status="unhealthy" if reason else "healthy",
        service="drover",
        version=VERSION,
        active_sessions=len(sessions),
        max_sessions=places.max_sessions,
        session_capacity=f"{len(sessions)}/{places.max_sessions}",
        warm=places.warm_count(),
        persistent_sessions=sum(1 for session in sessions if session.key is not None),
        uptime_s=round(time.monotonic() - services().started, 1),
        timestamp=rfc3339(datetime.now(timezone.utc)),
        **({"reason": reason} if reason else {}),
    )
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
    return response


@blueprint.get("/ready")
def ready() -> Response:
    """Return whether new sessions are accepted."""
    read_query(Nothing)
    readiness = services().readiness
    known = {"status": readiness.value, "active_sessions": _active_sessions()}
    if readiness is Readiness.READY:
        return jsonify(success=True, **known)
    refusal = ShuttingDown(f"The service is {readiness.value} and accepts no new sessions; use another one")
    response = jsonify(success=False, error=refusal.message, code=refusal.code, **known)
    response.status_code = refusal.status
    response.headers["Retry-After"] = str(refusal.retry_after_s)
    return response


@blueprint.post("/drain")
def drain() -> Response:
    """Accept no new sessions, and stop the service when the present ones have ended."""
    read_query(Nothing)
    read_body(Nothing)
    remaining_s = round(services().drain.begin(), 1)
    sessions = _active_sessions()
    return jsonify(
        success=True,
        message=f"Draining: {sessions} sessions go on for at most {remaining_s:g} s; then the service stops",
        status=Readiness.DRAINING.value,
        active_sessions=sessions,
        remaining_s=remaining_s,
    )


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return the metrics for Prometheus."""
    read_query(Nothing)
    return Response(services().metrics.exposition(), content_type=CONTENT_TYPE)


def _active_sessions() -> int:
    return len(services().sessions.sessions())
