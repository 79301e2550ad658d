"""Routes on processes: clean up, emergency, and who is who."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from errors import CleanupIncomplete
from process_cleanup import CleanupReport, Trigger
from processes.verdicts import Judgement
from web.parsing import Nothing, Strict, read_body, read_query
from web.services import services

blueprint = Blueprint("maintenance", __name__)


class CleanupQuery(Strict):
    """The parameters of `POST /cleanup_orphaned_processes`."""

    dry_run: bool = False


@blueprint.post("/cleanup_orphaned_processes")
def cleanup_orphaned_processes() -> Response:
    """End orphans, spare what sessions use."""
    query = read_query(CleanupQuery)
    read_body(Nothing)
    report = services().cleaner.cleanup(Trigger.PERSON, dry_run=query.dry_run)
    verb, count = (
        ("Would clean up", len(report.killed)) if query.dry_run else ("Cleaned up", report.killed_count)
    )
    return _reported(
        report,
        complete=not report.failed,
        message=f"{verb} {count} orphaned processes",
        dry_run=report.dry_run,
        freed_mb=round(report.freed_mb, 1),
        spared={verdict.value: number for verdict, number in report.spared},
        reaped=list(report.reaped),
        phases_ms=dict(report.phases_ms),
    )


@blueprint.post("/emergency_recovery")
def emergency_recovery() -> Response:
    """End every Chrome of the machine and forget every session."""
    read_query(Nothing)
    read_body(Nothing)
    report = services().manager.emergency()
    return _reported(
        report,
        complete=not any(failure.is_ours_to_end for failure in report.failed),
        message=(
            f"Emergency recovery completed - killed {report.killed_count} processes and cleared all sessions"
        ),
        warning="All Chrome browsers have been closed",
    )


@blueprint.get("/processes")
def list_processes() -> Response:
    """Give every Chrome and ChromeDriver process with what a cleanup thinks of it."""
    read_query(Nothing)
    plan = services().cleaner.survey()
    return jsonify(success=True, processes=[_process_json(judgement) for judgement in plan.judgements])


def _reported(report: CleanupReport, *, complete: bool, **fields: object) -> Response:
    body = {
        "success": complete,
        "killed_count": report.killed_count,
        "active_sessions": len(services().manager.registry.sessions()),
        "killed": [_brief(killed.judgement) for killed in report.killed],
        "failed": [_brief(failure.judgement) | {"reason": failure.why} for failure in report.failed],
        "removed_profiles": report.removed_profiles,
        "duration_ms": report.duration_ms,
    } | fields
    if not complete:
        pids = ", ".join(str(failure.judgement.row.pid) for failure in report.failed)
        body["code"] = CleanupIncomplete.code
        body["error"] = f"These processes could not be ended: PID {pids}; `failed` says why, end them by hand"
    response = jsonify(body)
    response.status_code = HTTPStatus.OK if complete else CleanupIncomplete.status
    return response


def _brief(judgement: Judgement) -> dict[str, object]:
    return {
        "pid": judgement.row.pid,
        "name": judgement.row.name,
        "role": judgement.role.value,
        "reason": judgement.reason,
    }


def _process_json(judgement: Judgement) -> dict[str, object]:
    row = judgement.row
    return {
        "pid": row.pid,
        "ppid": row.ppid,
        "name": row.name,
        "role": judgement.role.value,
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "session_id": judgement.session_id,
        "memory_mb": None if row.memory_mb is None else round(row.memory_mb, 1),
        "age_s": round(row.age_s, 1),
    }
