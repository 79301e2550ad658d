"""Records: the persistent form of sessions, written by one run of the service and read by the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, AwareDatetime, Field, TypeAdapter, ValidationError

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.capabilities.tables import Ignored
from drover.browser.driver_state import NO_DRIVER_STATE, DriverState
from drover.browser.recovery import Recovery
from drover.browser.running_browser import RunningBrowser
from drover.sessions.pool.session import KeepAlive, Lease, Session, SessionState
from drover.storage.session_folders import SessionFolder
from drover.storage.store import SessionRow


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The persistent part of a lease, without the monotonic clock of this process."""

    holder: str | None
    token: str
    expires_at: AwareDatetime

    @classmethod
    def of(cls, lease: Lease) -> LeaseRecord:
        """Return the record of a lease."""
        return cls(lease.holder, lease.token, lease.expires_at)

    def to_lease(self, now_mono: float, now: datetime) -> Lease:
        """Return the lease; if it has expired, the next call of `expired` ends it."""
        left_s = (self.expires_at - now).total_seconds()
        return Lease(self.holder, self.token, self.expires_at, now_mono + left_s)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The persistent part of a session; the fields not listed here are those of `Session`.

    Attributes:
        folder: The path of its folder, as on the command lines of its processes.
        ignored: What was set aside of the requested capabilities.
        running: Its ChromeDriver and browser as last published; None if it had none.
        boot_id: The boot of the machine in which `running` was recorded.
        epoch: The number of its birth; like `revision` it is a column of the database, not in the document.
    """

    session_id: str
    key: str | None
    folder: str
    capabilities: Mapping[str, object]
    first_page: str | None
    idle_timeout: float
    created_at: AwareDatetime
    last_used: AwareDatetime
    generation: int
    recoveries: int
    last_recovery: Recovery | None
    running: RunningBrowser | None
    boot_id: str
    keep_alive: KeepAlive | None = None
    lease: LeaseRecord | None = None
    window: str | None = None
    driver_state: DriverState = NO_DRIVER_STATE
    # Earlier versions had a secret for BiDi only, and named it so.
    socket_secret: Annotated[
        str | None, Field(validation_alias=AliasChoices("socket_secret", "bidi_secret"))
    ] = None
    ends_with_last_window: bool = False
    keeps_profile: bool = False
    ignored: tuple[Ignored, ...] = ()
    epoch: int = 0
    revision: int = 0

    @classmethod
    def of(cls, session: Session, boot_id: str) -> SessionRecord:
        """Return the record of a session; one that is driven is used at this moment."""
        return cls(
            **_same_fields(session),
            folder=str(session.folder.path),
            last_used=datetime.now(timezone.utc) if session.commands > 0 else session.last_used,
            capabilities=session.capabilities.capabilities,
            ignored=session.capabilities.ignored,
            lease=LeaseRecord.of(session.lease) if session.lease else None,
            boot_id=boot_id,
        )

    def to_session(self, now_mono: float, now: datetime) -> Session:
        """Return the session as ready, with unknown health; the downtime of the service counts as unused.

        If the wall clock was set back in the meantime, neither its idle time nor its lease gets longer.
        """
        now = max(now, self.last_used)
        unused_for = (now - self.last_used).total_seconds()
        return Session(
            **_same_fields(self),
            folder=SessionFolder(Path(self.folder)),
            capabilities=CheckedCapabilities(self.capabilities, self.ignored),
            lease=self.lease.to_lease(now_mono, now) if self.lease else None,
            last_used=self.last_used,
            last_used_mono=now_mono - unused_for,
            state=SessionState.READY,
        )


_SAME = {one.name for one in fields(SessionRecord)} & {one.name for one in fields(Session)}
_DIFFERENT = {"folder", "capabilities", "last_used", "lease"}


def _same_fields(source: Session | SessionRecord) -> dict[str, Any]:
    """Return the fields that a session and its record have in common, with their values."""
    return {name: getattr(source, name) for name in _SAME - _DIFFERENT}


@cache
def _stored() -> TypeAdapter[SessionRecord]:
    # Built at its first use, as it takes 16 ms of a start.
    return TypeAdapter(SessionRecord)


def to_document(session: SessionRecord) -> str:
    """Return a session as the JSON text that the database stores."""
    return _stored().dump_json(session, exclude={"epoch", "revision"}).decode()


def from_row(row: SessionRow) -> SessionRecord | None:
    """Return the session in a row; None if this version cannot read it."""
    try:
        session = _stored().validate_json(row.document, strict=True)
    except ValidationError:
        return None
    return replace(session, epoch=row.owner.epoch, revision=row.revision)
