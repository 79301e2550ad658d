"""Reports on processes as response models, the same over HTTP and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from drover.api.answers import ApiModel, Pid, Success
from drover.core.errors import CleanupIncomplete
from drover.core.log_context import naming_request
from drover.processes.cleanup.chrome_names import Role
from drover.processes.cleanup.cleanup_plan import CleanupPlan, Judgement, Verdict
from process_cleanup import CleanupReport, EmergencyReport

NOT_CLEARED = (
    "The sessions could not be deleted from the disk; that is retried. Until it is done, a restart would "
    "bring them back: free some disk space, or end the program that has locked the session database."
)


class ProcessBrief(ApiModel):
    """A process that a cleanup ended, would end, or could not end."""

    pid: Pid
    name: str = Field(examples=["chromedriver"])
    """Name of the program."""
    role: Role = Field(examples=["driver"])
    """Role of the process in its browser."""
    reason: str = Field(examples=["ChromeDriver without a session"])
    """Why the process had to be ended; in `failed`, why it could not be."""

    @classmethod
    def of(cls, judgement: Judgement, reason: str) -> ProcessBrief:
        """Return a process and the reason."""
        return cls(pid=judgement.row.pid, name=judgement.row.name, role=judgement.role, reason=reason)


class SilentNode(ApiModel):
    """A machine that did not do its part of an emergency in time."""

    node: str = Field(examples=["b"])
    """Its name."""
    reason: str = Field(examples=["it did not answer; it ends its sessions before it serves anything more"])
    """What is known of it."""


class _Outcome(ApiModel):
    """What every report begins with."""

    message: str = Field(examples=["Cleaned up 3 orphaned processes"])
    """The result, for people."""
    killed_count: int = Field(examples=[3])
    """Number of processes that were ended and verified to be gone."""


class _Details(ApiModel):
    """What was done, as in every report."""

    active_sessions: int = Field(examples=[5])
    """Number of sessions."""
    killed: list[ProcessBrief]
    """Processes that were ended and verified to be gone; in a dry run, those that would be ended."""
    failed: list[ProcessBrief | SilentNode] = Field(examples=[[]])
    """Processes that could not be ended, and why; after an emergency on all machines, also silent ones."""
    removed_profiles: int = Field(examples=[2])
    """Number of orphaned session folders that were removed."""
    duration_ms: int = Field(examples=[84])
    """Duration in milliseconds."""


class _CleanupFields(_Details, _Outcome):
    """Base of the reports of cleanups."""

    freed_mb: float = Field(examples=[812.0])
    """Memory that the ended processes held, in units of 1,000,000 bytes."""
    dry_run: bool = Field(examples=[False])
    """Whether this was a dry run, which changes nothing."""
    spared: dict[str, int] = Field(examples=[{"protected": 24, "foreign": 11}])
    """Number of processes that were left alone, by verdict."""
    reaped: list[int] = Field(examples=[[9012]])
    """Pids of defunct child processes of the service that were reaped."""
    phases_ms: dict[str, int] = Field(examples=[{"scan": 21, "plan": 4, "end": 51, "sweep": 8}])
    """Duration of each phase in milliseconds."""


class _Incomplete(ApiModel):
    """Base of the reports of incomplete cleanups and emergency recoveries."""

    status_code = CleanupIncomplete.status
    success: Literal[False] = Field(default=..., examples=[False])
    """Whether the request succeeded."""
    error: str = Field(
        examples=[
            (
                "These processes could not be ended: PID 9012. "
                "See `failed` for the reasons, then end them manually."
            )
        ]
    )
    """What happened and what to do about it, for people."""
    code: Literal["cleanup_incomplete"] = Field(default=..., examples=["cleanup_incomplete"])
    """Error code, for programs."""


class CleanupAnswer(_CleanupFields, Success):
    """No orphan is left; for a dry run, what a cleanup would do."""


class CleanupIncompleteAnswer(_CleanupFields, _Incomplete):
    """A process could not be ended; `failed` says why."""


class _Warning(ApiModel):
    warning: str = Field(examples=["All Chrome browsers have been closed"])
    """Side effect to be aware of."""


class _EmergencyReport(_Details, _Warning, _Outcome):
    cleared: bool = Field(examples=[True])
    """Whether all sessions and saved states are deleted from the disk; if not, that is retried."""


class EmergencyAnswer(_EmergencyReport, Success):
    """Every Chrome that the service is permitted to end has ended; those of other users are in `failed`."""


class EmergencyIncompleteAnswer(_EmergencyReport, _Incomplete):
    """A Chrome of the service's own user, the disk or another machine could not be cleared."""


class ProcessObject(ApiModel):
    """A ChromeDriver or Chrome process on the machine, with its verdict."""

    pid: Pid
    ppid: int = Field(examples=[1])
    """Process id of the parent."""
    name: str = Field(examples=["chromedriver"])
    """Name of the program."""
    role: Role = Field(examples=["driver"])
    """Role of the process in its browser."""
    verdict: Verdict = Field(examples=["orphan"])
    """What a cleanup does with it: an `orphan` is ended, `protected` and `foreign` are left alone."""
    reason: str = Field(examples=["ChromeDriver without a session"])
    """Reason for the verdict, for people."""
    session_id: str | None = Field(examples=[None])
    """Session that it belongs to; null if it belongs to none."""
    memory_mb: float | None = Field(examples=[18.7])
    """Its memory, in units of 1,000,000 bytes."""
    age_s: float = Field(examples=[3600.5])
    """Seconds since it started."""

    @classmethod
    def of(cls, judgement: Judgement) -> ProcessObject:
        """Return a process with its verdict."""
        row = judgement.row
        memory_mb = None if row.memory_mb is None else round(row.memory_mb, 1)
        values = {name: getattr(row, name) for name in ("pid", "ppid", "name")}
        return cls.filled(judgement, **values, memory_mb=memory_mb, age_s=round(row.age_s, 1))


class ProcessList(Success):
    """Every ChromeDriver and Chrome process on the machine."""

    processes: list[ProcessObject]
    """The processes, sorted by pid."""

    @classmethod
    def of(cls, plan: CleanupPlan) -> ProcessList:
        """Return every Chrome-like process with its verdict."""
        return cls(success=True, processes=[ProcessObject.of(judgement) for judgement in plan.judgements])


def cleanup_answer(report: CleanupReport, active_sessions: int) -> CleanupAnswer | CleanupIncompleteAnswer:
    """Return the report of a cleanup; it is a success if every process that had to end has ended."""
    message = f"Cleaned up {report.killed_count} orphaned processes"
    if report.dry_run:
        message = f"Would clean up {len(report.killed)} orphaned processes"
    values = _details(report, active_sessions) | {
        "message": message,
        "freed_mb": round(report.freed_mb, 1),
        "dry_run": report.dry_run,
        "spared": {verdict.value: number for verdict, number in report.spared},
        "reaped": report.reaped,
        "phases_ms": dict(report.phases_ms),
    }
    if report.failed:
        return CleanupIncompleteAnswer.model_validate(values | _failure(_not_ended(report)))
    return CleanupAnswer.model_validate(values | {"success": True})


def emergency_answer(
    report: EmergencyReport, active_sessions: int, silent_nodes: Sequence[str] = ()
) -> EmergencyAnswer | EmergencyIncompleteAnswer:
    """Return the report of an emergency recovery.

    It is a success even if processes remain that the service has no permission to end.

    Args:
        silent_nodes: The names of other machines that were asked, and did not do their part in time.
    """
    cleanup = report.cleanup
    message = f"Emergency recovery completed - killed {cleanup.killed_count} processes and "
    message += "cleared all sessions" if report.cleared else "could not clear all sessions on disk yet"
    values = _details(cleanup, active_sessions) | {
        "message": message,
        "warning": "All Chrome browsers have been closed",
        "cleared": report.cleared,
    }
    errors = [_not_ended(cleanup)] if any(failure.is_ours_to_end for failure in cleanup.failed) else []
    errors += [] if report.cleared else [NOT_CLEARED]
    if silent_nodes:
        errors.append(f"These machines did not answer in time: {', '.join(silent_nodes)}.")
        reason = "it did not answer; it ends its sessions before it serves anything more"
        values["failed"] += [SilentNode(node=name, reason=reason) for name in silent_nodes]
    if errors:
        return EmergencyIncompleteAnswer.model_validate(values | _failure(" ".join(errors)))
    return EmergencyAnswer.model_validate(values | {"success": True})


def _details(report: CleanupReport, active_sessions: int) -> dict[str, Any]:
    return {
        "killed_count": report.killed_count,
        "active_sessions": active_sessions,
        "killed": [ProcessBrief.of(killed.judgement, killed.judgement.reason) for killed in report.killed],
        "failed": [ProcessBrief.of(failure.judgement, failure.why) for failure in report.failed],
        "removed_profiles": report.removed_profiles,
        "duration_ms": report.duration_ms,
    }


def _failure(error: str) -> dict[str, Any]:
    return {"success": False, "error": naming_request(error), "code": CleanupIncomplete.code}


def _not_ended(report: CleanupReport) -> str:
    pids = ", ".join(str(failure.judgement.row.pid) for failure in report.failed)
    return (
        f"These processes could not be ended: PID {pids}. "
        "See `failed` for the reasons, then end them manually."
    )
