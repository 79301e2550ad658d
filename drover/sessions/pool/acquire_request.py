"""The request of `POST /sessions` and its result, and the sessions made for it."""

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
    """A validated `POST /sessions` request; None means the default, or unchanged for an existing session.

    Attributes:
        idle_timeout: In seconds, 0 = never.
        lease_s: Duration of the requested lease, in seconds.
        holder: The holder of the requested lease.
        token: The token of a lease that the client already has.
        ends_with_last_window: Whether the request came over WebDriver.
        keeps_profile: Whether the whole profile is kept for the key when the session ends.
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
    keeps_profile: bool | None = None


@dataclass(frozen=True, slots=True)
class Acquired:
    """A session that is handed to a client, whether it was created or recovered, and the granted lease."""

    session: Session
    created: bool
    recovery: Recovery | None
    lease: Lease | None = None


def new_session_id() -> str:
    """Return the id of a session whose client has not chosen one."""
    return f"session_{secrets.token_hex(6)}"


def new_session(
    request: AcquireRequest, folders: SessionFolders, idle_timeout: float, *, keeps_profile: bool = False
) -> Session:
    """Return a session in state `starting`; nothing is created on disk.

    Args:
        idle_timeout: In seconds, for a request without its own.
        keeps_profile: For a request without its own choice.
    """
    keeps = keeps_profile if request.keeps_profile is None else request.keeps_profile
    now = datetime.now(timezone.utc)
    return Session(
        session_id=request.session_id or new_session_id(),
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
        socket_secret=secrets.token_urlsafe(24),
        ends_with_last_window=request.ends_with_last_window,
        keeps_profile=keeps and request.key is not None,
    )


def new_warm_session(folders: SessionFolders, idle_timeout: float) -> Session:
    """Return a warm session in state `starting`, for a later request with default capabilities.

    No client can request it by its id, because the colon is not allowed in clients' ids.
    """
    defaults = AcquireRequest(None, None, None, CheckedCapabilities({}), None)
    warm_id = f"warm:{secrets.token_hex(6)}"
    return replace(new_session(defaults, folders, idle_timeout), session_id=warm_id, warm=True)


def taken(session: Session, request: AcquireRequest, lease: Lease | None) -> Session:
    """Return a session as it is handed over: used now, with its client's changes and lease.

    Raises:
        SessionInUse: Another client holds the lease.
    """
    if request.idle_timeout is not None:
        session = replace(session, idle_timeout=request.idle_timeout)
    if request.keep_alive is not None:
        session = replace(session, keep_alive=request.keep_alive)
    if request.keeps_profile is not None:
        session = replace(session, keeps_profile=request.keeps_profile)
    # Another client may have leased it since the claim.
    check_lease(session, request.token)
    return used(leased(session, lease, request.token) if lease is not None else session)


def lease_asked_for(request: AcquireRequest) -> Lease | None:
    """Return the lease that a request asks for, with a new token; None if it asks for none."""
    return None if request.lease_s is None else new_lease(request.lease_s, request.holder)


def new_lease(ttl_s: float, holder: str | None) -> Lease:
    """Return a lease that begins now, with a new token."""
    expires_at = datetime.now(timezone.utc) + timedelta(seconds=ttl_s)
    return Lease(holder, secrets.token_urlsafe(24), expires_at, time.monotonic() + ttl_s)
