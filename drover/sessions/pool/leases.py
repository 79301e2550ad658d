"""Leases: which client may use a session; pure functions from session to session."""

from __future__ import annotations

import secrets
from dataclasses import replace

from drover.core.errors import SessionInUse, SessionLost
from drover.sessions.pool.session import Lease, Session, SessionState, used


def check_lease(session: Session, token: str | None) -> None:
    """Raise unless the session is unleased or `token` matches its lease.

    Raises:
        SessionInUse: Another client holds the lease.
    """
    lease = session.lease
    if lease is not None and not secrets.compare_digest(lease.token.encode(), (token or "").encode()):
        raise SessionInUse(
            f"Session {session.session_id} is leased by {lease.holder or 'another client'} "
            f"until {lease.expires_at:%H:%M:%S} UTC; send the lease token, or retry then"
        )


def leased(session: Session, lease: Lease, token: str | None) -> Session:
    """Return the session with a new lease, or with its lease renewed if `token` matches it.

    A renewal that names no holder keeps the holder.

    Raises:
        SessionInUse: Another client holds the lease.
        SessionLost: The session is being closed.
    """
    check_lease(session, token)
    if session.state is SessionState.CLOSING:
        raise SessionLost(
            f"Session {session.session_id} is being closed; create a new one with POST /sessions"
        )
    held = session.lease
    if held is not None:
        lease = replace(lease, token=held.token, holder=lease.holder or held.holder)
    return replace(session, lease=lease)


def given_back(session: Session, token: str | None) -> Session:
    """Return the session without its lease; the end of a lease counts as activity.

    Raises:
        SessionInUse: Another client holds the lease.
    """
    check_lease(session, token)
    return session if session.lease is None else used(replace(session, lease=None))


def without_lease(session: Session, lease: Lease) -> Session:
    """Return the session without this lease, if it still has it."""
    held = session.lease
    return replace(session, lease=None) if held is not None and held.token == lease.token else session


def expired(session: Session, now_mono: float) -> Session:
    """Return the session without its lease if that has expired; the expiry is its last activity."""
    lease = session.lease
    if lease is None or lease.expires_mono > now_mono:
        return session
    return replace(
        session,
        lease=None,
        last_used=max(session.last_used, lease.expires_at),
        last_used_mono=max(session.last_used_mono, lease.expires_mono),
    )
