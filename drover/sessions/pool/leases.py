"""Leases: who may be handed a session; pure functions from session to session."""

from __future__ import annotations

import secrets
from dataclasses import replace

from drover.core.errors import SessionInUse, SessionLost
from drover.sessions.pool.session import Lease, Session, SessionState, used


def check_lease(session: Session, token: str | None) -> None:
    """Let pass whoever shows the token of the lease, and everybody where there is none.

    Raises:
        SessionInUse: Somebody else holds it.
    """
    lease = session.lease
    if lease is not None and not secrets.compare_digest(lease.token.encode(), (token or "").encode()):
        raise SessionInUse(
            f"Session {session.session_id} is leased by {lease.holder or 'somebody'} "
            f"until {lease.expires_at:%H:%M:%S} UTC; show the lease's token, or ask again then"
        )


def leased(session: Session, lease: Lease, token: str | None) -> Session:
    """Give the session leased anew; whoever shows the token of its lease renews that one.

    Raises:
        SessionInUse: Somebody else holds it.
        SessionLost: It is being closed.
    """
    check_lease(session, token)
    if session.state is SessionState.CLOSING:
        raise SessionLost(f"Session {session.session_id} is being closed; POST /sessions makes a new one")
    held = session.lease
    return replace(session, lease=lease if held is None else replace(lease, token=held.token))


def given_back(session: Session, token: str | None) -> Session:
    """Give the session without its lease; it was used until now.

    Raises:
        SessionInUse: Somebody else holds it.
    """
    check_lease(session, token)
    return session if session.lease is None else used(replace(session, lease=None))


def expired(session: Session, now_mono: float) -> Session:
    """Give the session without its lease if that is over; it was used until then."""
    lease = session.lease
    if lease is None or lease.expires_mono > now_mono:
        return session
    return replace(
        session,
        lease=None,
        last_used=max(session.last_used, lease.expires_at),
        last_used_mono=max(session.last_used_mono, lease.expires_mono),
    )
