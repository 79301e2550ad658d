"""What a client asks of `POST /sessions`, and what it is handed."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.recovery import Recovery
from drover.sessions.pool.leases import check_lease, leased
from drover.sessions.pool.session import KeepAlive, Lease, Session, used
from drover.storage.session_folders import SessionFolders


@dataclass(frozen=True, slots=True)
class AcquireRequest:
    """What a client asks of `POST /sessions`, validated; None where it leaves a thing as it is.

    Attributes:
        idle_timeout: In seconds, 0 = never.
        lease_s: How long it is to be leased for.
        holder: Who leases it.
        token: That of a lease which the client already has.
        ends_with_last_window: It is asked for over WebDriver.
    """

    session_id: str | None
    key: str | None
    url: str | None
    capabilities: CheckedCapabilities
    idle_timeout: float | None
    keep_alive: KeepAlive | None = None
    lease_s: float | None = None
    holder: str | None = None
    token: str | None = None
    ends_with_last_window: bool = False


@dataclass(frozen=True, slots=True)
class Acquired:
    """A session that is handed over, what had to be done for that, and the lease that was granted."""

    session: Session
    created: bool
    recovery: Recovery | None
    lease: Lease | None = None


def new_session(request: AcquireRequest, folders: SessionFolders, idle_timeout: float) -> Session:
    """Give a session that is yet to be started; nothing is made on disk.

    Args:
        request: What is asked for.
        folders: Chooses its folder.
        idle_timeout: In seconds, for a request that names none.
    """
    now = datetime.now(timezone.utc)
    return Session(
        session_id=request.session_id or f"session_{secrets.token_hex(6)}",
        key=request.key,
        folder=folders.choose(),
        capabilities=request.capabilities,
        first_page=request.url,
        idle_timeout=idle_timeout if request.idle_timeout is None else request.idle_timeout,
        created_at=now,
        last_used=now,
        last_used_mono=time.monotonic(),
        keep_alive=request.keep_alive,
        lease=lease_asked_for(request),
        bidi_secret=secrets.token_urlsafe(24) if request.capabilities.wants_bidi else None,
        ends_with_last_window=request.ends_with_last_window,
    )


def new_warm_session(folders: SessionFolders, idle_timeout: float) -> Session:
    """Give a session that is yet to be started, for whoever asks for nothing special.

    No client can ask for it by its id, which has a letter that theirs may not have.
    """
    anybodys = AcquireRequest(None, None, None, CheckedCapabilities({}), None)
    warm_id = f"warm:{secrets.token_hex(6)}"
    return replace(new_session(anybodys, folders, idle_timeout), session_id=warm_id, warm=True)


def taken(session: Session, request: AcquireRequest, lease: Lease | None) -> Session:
    """Give a session as it is handed over: used now, with what its client changes of it and its lease.

    Raises:
        SessionInUse: Somebody else has leased it.
    """
    if request.idle_timeout is not None:
        session = replace(session, idle_timeout=request.idle_timeout)
    if request.keep_alive is not None:
        session = replace(session, keep_alive=request.keep_alive)
    # Between the claim and this moment somebody else may have leased it.
    check_lease(session, request.token)
    return used(leased(session, lease, request.token) if lease is not None else session)


def lease_asked_for(request: AcquireRequest) -> Lease | None:
    """Give the lease that a request asks for, with a new token."""
    return None if request.lease_s is None else new_lease(request.lease_s, request.holder)


def new_lease(ttl_s: float, holder: str | None) -> Lease:
    """Give a lease from now on, with a new token."""
    expires_at = datetime.now(timezone.utc) + timedelta(seconds=ttl_s)
    return Lease(holder, secrets.token_urlsafe(24), expires_at, time.monotonic() + ttl_s)
