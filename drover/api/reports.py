"""Cleanup reports as JSON, the same over HTTP and on the command line."""

from __future__ import annotations

from drover.core.errors import CleanupIncomplete
from drover.core.log_context import naming_request
from drover.processes.cleanup.verdicts import CleanupPlan, Judgement
from process_cleanup import CleanupReport, EmergencyReport

NOT_CLEARED = (
    "The sessions could not be deleted from the disk; that is retried. Until it is done, a restart would "
    "bring them back: free some disk space, or end the program that has locked the session database."
)


def cleanup_json(report: CleanupReport, active_sessions: int) -> dict[str, object]:
    """Return the report of a cleanup; it is a success if every process that had to end has ended."""
    message = f"Cleaned up {report.killed_count} orphaned processes"
    if report.dry_run:
        message = f"Would clean up {len(report.killed)} orphaned processes"
    return _outcome(report, message, complete=not report.failed) | {
        "active_sessions": active_sessions,
        **_details(report),
        "freed_mb": round(report.freed_mb, 1),
        "dry_run": report.dry_run,
        "spared": {verdict.value: number for verdict, number in report.spared},
        "reaped": list(report.reaped),
        "phases_ms": dict(report.phases_ms),
    }


def emergency_json(report: EmergencyReport, active_sessions: int) -> dict[str, object]:
    """Return the report of an emergency recovery.

    It is a success even if processes remain that the service has no permission to end.
    """
    cleanup = report.cleanup
    ended = not any(failure.is_ours_to_end for failure in cleanup.failed)
    message = f"Emergency recovery completed - killed {cleanup.killed_count} processes and "
    message += "cleared all sessions" if report.cleared else "could not clear all sessions on disk yet"
    body = _outcome(cleanup, message, complete=ended) | {
        "warning": "All Chrome browsers have been closed",
        "active_sessions": active_sessions,
        "cleared": report.cleared,
        **_details(cleanup),
    }
    if not report.cleared:
        error = f"{body['error']} {NOT_CLEARED}" if "error" in body else naming_request(NOT_CLEARED)
        body |= {"success": False, "code": CleanupIncomplete.code, "error": error}
    return body


def processes_json(plan: CleanupPlan) -> dict[str, object]:
    """Return every Chrome-like process with its verdict."""
    return {"success": True, "processes": [process_json(judgement) for judgement in plan.judgements]}


def _outcome(report: CleanupReport, message: str, *, complete: bool) -> dict[str, object]:
    body: dict[str, object] = {"success": complete, "message": message, "killed_count": report.killed_count}
    if not complete:
        pids = ", ".join(str(failure.judgement.row.pid) for failure in report.failed)
        body["error"] = naming_request(
            f"These processes could not be ended: PID {pids}. "
            "See `failed` for the reasons, then end them manually."
        )
        body["code"] = CleanupIncomplete.code
    return body


def _details(report: CleanupReport) -> dict[str, object]:
    return {
        "killed": [_brief(killed.judgement) for killed in report.killed],
        "failed": [_brief(failure.judgement) | {"reason": failure.why} for failure in report.failed],
        "removed_profiles": report.removed_profiles,
        "duration_ms": report.duration_ms,
    }


def _brief(judgement: Judgement) -> dict[str, object]:
    return {
        "pid": judgement.row.pid,
        "name": judgement.row.name,
        "role": judgement.role.value,
        "reason": judgement.reason,
    }


def process_json(judgement: Judgement) -> dict[str, object]:
    """Return one Chrome-like process with its verdict."""
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
