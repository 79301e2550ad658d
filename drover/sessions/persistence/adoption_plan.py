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
class AdoptionPlan:
    """One decision for every stored session, in the order in which they were stored."""

    decisions: tuple[Decision, ...]

    def of(self, action: Action) -> tuple[Decision, ...]:
        """Return the decisions with one action."""
        return tuple(decision for decision in self.decisions if decision.action is action)


_BROWSER_LIVES = frozenset({Cause.DRIVER_GONE, Cause.DRIVER_HUNG, Cause.TAB_CRASHED})

_ProcessUse = tuple[str, object]
"""Something that only one session can have: its kind, and its value."""


@dataclass(slots=True)
class _Taken:
    """What newer sessions own, with their ids; `pids` are those of processes that are kept."""

    owners: dict[_ProcessUse, str] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)


def plan_adoption(
    stored: Sequence[SessionRecord], facts: Mapping[str, HealthReadings], boot_id: str, data_dir: Path
) -> AdoptionPlan:
    """Return what to do with every stored session.

    Args:
        stored: The sessions, the oldest first; their ids differ. Of two that name the same folder, key or
            process the newer wins. One of the first generation without a browser was never answered.
        facts: By session id, the last readings of a session. Silence counts as hung here, so probe until
            `assess` has settled. Missing readings count as a dead browser. A re-attach compares the GUID
            itself, because endpoints are not probed if ChromeDriver is gone.
        boot_id: The present boot of the machine; processes recorded in another boot are not valid.
        data_dir: The data folder; the processes of a session in a copied or moved one are foreign.
    """
    taken = _Taken()
    newest_first = [
        _decide(session, facts.get(session.session_id), taken, boot_id, data_dir)
        for session in reversed(stored)
    ]
    return AdoptionPlan(tuple(reversed(newest_first)))


def _decide(
    session: SessionRecord, readings: HealthReadings | None, taken: _Taken, boot_id: str, data_dir: Path
) -> Decision:
    if session.running is None and session.generation == 1:
        return Decision(session, Action.FORGET, "the service ended while it was starting")
    invalid = _why_invalid(session, boot_id, data_dir)
    if invalid is not None:
        session = replace(session, running=None, folder=str(_folder_here(session, data_dir)))
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


def _why_invalid(session: SessionRecord, boot_id: str, data_dir: Path) -> str | None:
    """Return why the recorded processes are not valid any more; None if they are."""
    if session.boot_id != boot_id:
        return "the machine was rebooted"
    if Path(session.folder) != _folder_here(session, data_dir):
        return "the data folder was copied or moved"
    return None


def _folder_here(session: SessionRecord, data_dir: Path) -> Path:
    folder = Path(session.folder)
    return data_dir / folder.parent.name / folder.name


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
