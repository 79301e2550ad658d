"""Routes on sessions: get or create, list, check, lease, screenshot, close."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from drover.api.session_answers import (
    ClusterSums,
    GrantedLease,
    LeaseAnswer,
    LeaseEnded,
    SessionAnswer,
    SessionClosedAnswer,
    SessionCreated,
    SessionHistoryAnswer,
    SessionList,
    SessionObject,
)
from drover.api.session_requests import (
    LEASE_TOKEN,
    CloseQuery,
    LeaseRequest,
    ListQuery,
    LookQuery,
    SessionRequest,
    request_of,
    selected,
)
from drover.core.errors import (
    AtCapacity,
    BrowserUnavailable,
    CleanupIncomplete,
    ForbiddenCapability,
    KeyConflict,
    NodeUnreachable,
    RecoveryFailed,
    SessionInUse,
    SessionNotFound,
    ShuttingDown,
    StorageUnavailable,
)
from drover.sessions.pool.acquire_request import Acquired
from drover.sessions.pool.session import Session
from drover.storage.cluster_values import NodeState
from drover.web.calls import own_addresses, request_deadline, request_header, services
from drover.web.rest_routes import RestRoutes

if TYPE_CHECKING:
    from drover.cluster.cluster import Cluster  # imports psycopg

routes = RestRoutes("Sessions")
_TOKEN = {LEASE_TOKEN: "Token of the lease that the client holds"}
_UNAVAILABLE = (BrowserUnavailable, NodeUnreachable, RecoveryFailed, ShuttingDown, StorageUnavailable)


@routes.add(
    "post",
    "/sessions",
    errors=(ForbiddenCapability, SessionInUse, KeyConflict, CleanupIncomplete, AtCapacity, *_UNAVAILABLE),
    short={"session_id": "first", "url": "https://example.org/"},
    headers=_TOKEN,
)
def acquire_session(body: SessionRequest) -> SessionAnswer | SessionCreated:
    """Get or create a session.

    Finds the session with this id or key, checks it and recovers it if it is dead; creates it if there is
    none. Concurrent requests with the same id or key get the same browser. Every field is optional.
    """
    checked = services().capability_policy.check(body.capabilities or {})
    wanted = request_of(body, checked, request_header(LEASE_TOKEN))
    return SessionAnswer.of(services().manager.acquire(wanted, request_deadline()), own_addresses())


@routes.add("get", "/sessions", has_tag=True)
def list_sessions(query: ListQuery) -> SessionList:
    """List all sessions.

    Returns what is currently known, or a part of it. It calls no browser and never waits for one.
    """
    own, limit = services().sessions.sessions(), services().sessions.max_sessions
    cluster, addresses = services().cluster, own_addresses()
    # What has come to this machine since the copy of the others' sessions was read is its own.
    known = {session.session_id for session in own}
    others = [] if cluster is None else [one for one in cluster.others if one.session_id not in known]
    page, following = selected(chain(own, others), query)
    optional: dict[str, Any] = {"next": following} if query.limit is not None else {}
    if cluster is not None:
        optional |= {"cluster": _sums(cluster)} | ({} if cluster.is_complete else {"incomplete": True})
    return SessionList(
        success=True,
        active_sessions=len(own),
        max_sessions=limit,
        session_capacity=f"{len(own)}/{limit}",
        sessions=[SessionObject.of(one, addresses) if isinstance(one, Session) else one for one in page],
        **optional,
    )


def _sums(cluster: Cluster) -> ClusterSums:
    living = [node for node in cluster.nodes if node.state is not NodeState.LOST]
    return ClusterSums(
        active_sessions=sum(node.load.sessions for node in living),
        max_sessions=sum(node.max_sessions for node in living),
    )


@routes.add("get", "/sessions/{session_id}", errors=(SessionNotFound, CleanupIncomplete, *_UNAVAILABLE))
def look_at_session(session_id: str, query: LookQuery) -> SessionAnswer:
    """Check a session, and recover it if it is dead.

    The same as a retrieval by POST, but it never creates a session and does not count as activity.
    """
    if query.recover:
        return SessionAnswer.of(services().manager.check(session_id, request_deadline()), own_addresses())
    session = services().manager.report(session_id, request_deadline())
    return SessionAnswer.of(Acquired(session, created=False, recovery=None), own_addresses())


@routes.add("get", "/sessions/{session_id}/history", errors=(SessionNotFound,))
def read_history(session_id: str) -> SessionHistoryAnswer:
    """Get what has happened to a session.

    Its creation, recoveries with cause and duration, its eviction or close, and the client whose request led
    to each. Also for a day after its end. It calls no browser.
    """
    entries = services().history.of(session_id)
    known = [one for one in services().sessions.sessions() if one.session_id == session_id]
    if not entries and not known:
        raise SessionNotFound(f"Nothing is known of session {session_id}; GET /sessions lists all sessions")
    return SessionHistoryAnswer.of(session_id, known[0] if known else None, entries)


@routes.add(
    "delete",
    "/sessions/{session_id}",
    errors=(SessionNotFound, CleanupIncomplete, ShuttingDown, StorageUnavailable),
    confirm="This closes the browser and removes its profile.",
)
def close_session(session_id: str, query: CloseQuery) -> SessionClosedAnswer:
    """Close a session.

    Returns when all processes of the session were verified to be gone and its profile is removed. What was
    kept for its key is deleted too, unless `keep=true`; the end of a WebDriver session keeps it. If the
    deletion cannot be written to disk, the session stays listed as closing until it is.
    """
    if query.keep:
        query.check(session_id, services().sessions.get(session_id).key)
    services().manager.close(session_id, request_deadline(), keep=query.keep)
    return SessionClosedAnswer.of(session_id, services().active_sessions)


@routes.add(
    "post",
    "/sessions/{session_id}/lease",
    errors=(SessionNotFound, SessionInUse, StorageUnavailable),
    short={"ttl": 60},
    headers=_TOKEN,
)
def lease_session(session_id: str, body: LeaseRequest) -> LeaseAnswer:
    """Lease a session, or renew its lease.

    A leased session is not handed to any other client, not evicted, and not closed when idle. Send the token
    of the lease to renew it.
    """
    token = request_header(LEASE_TOKEN)
    lease = services().manager.lease(session_id, body.ttl, body.holder, token, request_deadline())
    return LeaseAnswer(success=True, lease=GrantedLease.filled(lease))


@routes.add(
    "delete",
    "/sessions/{session_id}/lease",
    errors=(SessionNotFound, SessionInUse, StorageUnavailable),
    headers=_TOKEN,
)
def end_lease(session_id: str) -> LeaseEnded:
    """Release a lease.

    Does nothing if the session is not leased.
    """
    services().manager.end_lease(session_id, request_header(LEASE_TOKEN), request_deadline())
    return LeaseEnded(success=True, message=f"Lease of session {session_id} released", session_id=session_id)


@routes.add(
    "get",
    "/sessions/{session_id}/screenshot",
    errors=(SessionNotFound, CleanupIncomplete, *_UNAVAILABLE),
    media_type="image/png",
)
def take_screenshot(session_id: str, query: LookQuery) -> Response:
    """Take a screenshot of the page in the foreground.

    Checks the session first, and recovers it if it is dead.
    """
    screenshot = services().manager.screenshot(session_id, request_deadline(), recover=query.recover)
    return Response(screenshot, media_type="image/png", headers={"Cache-Control": "no-store"})
