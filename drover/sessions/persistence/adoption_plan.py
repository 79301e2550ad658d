"""The adoption plan: what to do with the sessions of an earlier run, as pure decisions.

Every session that `POST` has answered is kept: with the same processes if these are proven to be the
same, else by a recovery. A session that was not answered yet is forgotten, and its processes are orphans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from drover.browser.health import Cause, HealthReadings, Silence, assess, browser_guid
from drover.browser.running_browser import RunningBrowser
from drover.processes.folders import FolderId
from drover.processes.session_mark import SessionMark
from drover.processes.table import ProcessIdentity
from drover.sessions.persistence.records import SessionRecord


class Action(str, Enum):
    """What to do with a stored session."""

    ADOPT = "adopt"
    REATTACH = "re-attach"
    RESTORE = "restore"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one stored session, and why.

    Attributes:
        session: The session to continue with, in its folder under the present data folder. Without
            `running` if the recorded processes are not valid any more, so that they are never signalled.
        reason: The reason, in words; for a re-attach or restore, what was found dead or hung.
        cause: The cause of the recovery; None if none is needed.
    """

    session: SessionRecord
    action: Action
    reason: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Here:
    """Where the service starts.

    Attributes:
        boot_id: The present boot of the machine.
        data_dir: The path of the data folder, which may be another one than at the last start.
        home: The data folder itself; None if it cannot be read.
        marks: The session folder that each running process uses.
    """

    boot_id: str
    data_dir: Path
    home: FolderId | None
    marks: Mapping[ProcessIdentity, SessionMark]


_BROWSER_LIVES = frozenset({Cause.DRIVER_GONE, Cause.DRIVER_HUNG, Cause.TAB_CRASHED})

_ProcessUse = tuple[str, object]
"""Something that only one session can have: its kind, and its value."""


@dataclass(slots=True)
class _Taken:
    """What newer sessions own, with their ids; `pids` are those of processes that are kept."""

    owners: dict[_ProcessUse, str] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)


def plan_adoption(
    stored: Sequence[SessionRecord], facts: Mapping[str, HealthReadings], here: Here
) -> tuple[Decision, ...]:
    """Return what to do with every stored session, in the order in which they were stored.

    Args:
        stored: The sessions, the oldest first; their ids differ. Of two that name the same folder, key or
            process the newer wins. One of the first generation without a browser was never answered.
        facts: By session id, the last readings of a session. Silence counts as hung here, so probe until
            `assess` has settled. Missing readings count as a dead browser. A re-attach compares the GUID
            itself, because endpoints are not probed if ChromeDriver is gone.
        here: Processes recorded in another boot, or that use another data folder, are not valid.
    """
    taken = _Taken()
    newest_first = [
        _decide(session, facts.get(session.session_id), taken, here) for session in reversed(stored)
    ]
    return tuple(reversed(newest_first))


def _decide(session: SessionRecord, readings: HealthReadings | None, taken: _Taken, here: Here) -> Decision:
    if session.running is None and session.generation == 1:
        return Decision(session, Action.FORGET, "the service ended while it was starting")
    invalid = _why_invalid(session, here)
    running = session.running if invalid is None else None
    session = replace(session, running=running, folder=str(_folder_here(session, here)))
    claims = tuple(_claims(session))
    for claim in claims:
        if claim in taken.owners:
            return Decision(session, Action.FORGET, f"the newer {taken.owners[claim]} has its {claim[0]}")
    taken.owners.update(dict.fromkeys(claims, session.session_id))
    if session.running is None:
        reason = invalid or "the service ended while the session had no browser"
        return Decision(session, Action.RESTORE, reason, Cause.BROWSER_GONE)
    if readings is None:
        return Decision(session, Action.RESTORE, "its processes were not probed", Cause.BROWSER_GONE)
    return _without_reuse(_judge(session, session.running, readings), session.running, taken)


def _why_invalid(session: SessionRecord, here: Here) -> str | None:
    """Return why the recorded processes are not valid any more; None if they are.

    One folder has several paths, and a path may lead to another folder by now. So what the processes use
    decides.
    """
    if session.boot_id != here.boot_id:
        return "the machine was rebooted"
    folder = _folder_here(session, here)
    recorded = (session.running.driver, session.running.browser) if session.running is not None else ()
    marks = [here.marks[process] for process in recorded if process in here.marks]
    if any(mark.moved for mark in marks):
        return "the data folder was moved while the browser ran"
    if all(mark.session == (here.home, folder.name) for mark in marks):
        is_here = bool(marks) or Path(session.folder) == folder
        return None if is_here else "the data folder was copied or moved"
    return "the data folder is a copy, and the browser uses the original"


def _folder_here(session: SessionRecord, here: Here) -> Path:
    folder = Path(session.folder)
    return here.data_dir / folder.parent.name / folder.name


def _claims(session: SessionRecord) -> Iterator[_ProcessUse]:
    yield "folder", session.folder
    if session.key is not None:
        yield "key", session.key
    if session.running is not None:
        yield "browser", session.running.browser
        yield "browser", session.running.driver


def _judge(session: SessionRecord, running: RunningBrowser, readings: HealthReadings) -> Decision:
    found = assess(readings, running, Silence(), 0.0)
    cause = found.cause if found.settled else found.silence.of
    reason = found.reason or ""
    if cause in _BROWSER_LIVES:
        return Decision(session, Action.REATTACH, reason, cause)
    if cause is not None:
        return Decision(session, Action.RESTORE, reason, cause)
    if browser_guid(readings.browser_version.body) != running.browser_guid:
        return Decision(
            session, Action.RESTORE, "its browser is not proven to be the same", Cause.BROWSER_GONE
        )
    return Decision(session, Action.ADOPT, "its ChromeDriver and browser are alive")


def _without_reuse(decision: Decision, running: RunningBrowser, taken: _Taken) -> Decision:
    """Prevent two sessions from keeping one process: a pid that both name was reused in the meantime."""
    if decision.action is Action.RESTORE:
        return decision
    pids = running.pids if decision.action is Action.ADOPT else {running.browser.pid}
    if pids & taken.pids:
        session = replace(decision.session, running=None)
        return Decision(session, Action.RESTORE, "its PID belongs to another session now", Cause.BROWSER_GONE)
    taken.pids |= pids
    return decision
