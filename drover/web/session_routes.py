"""Routes on sessions: get or create, list, check, lease, screenshot, close."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify, request, url_for

from drover.api.serializers import granted_json, recovery_json, session_json
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
from drover.api.validation import Nothing
from drover.core.errors import InvalidRequest
from drover.sessions.pool.acquire_request import Acquired
from drover.web.request_parsing import read_body, read_query
from drover.web.services import own_addresses, request_deadline, services

blueprint = Blueprint("sessions", __name__)


@blueprint.post("/sessions")
def acquire_session() -> Response:
    """Get or create a session."""
    read_query(Nothing)
    body = read_body(SessionRequest)
    checked = services().capability_policy.check(body.capabilities or {})
    wanted = request_of(body, checked, request.headers.get(LEASE_TOKEN))
    return _handed_over(services().manager.acquire(wanted, request_deadline()))


@blueprint.get("/sessions")
def list_sessions() -> Response:
    """Return all sessions, or those that are asked for, as currently known; 304 if the client has them."""
    query = read_query(ListQuery)
    sessions = services().sessions.sessions()
    limit = services().sessions.max_sessions
    page, following = selected(sessions, query)
    response = jsonify(
        success=True,
        active_sessions=len(sessions),
        max_sessions=limit,
        session_capacity=f"{len(sessions)}/{limit}",
        sessions=[session_json(session, own_addresses()) for session in page],
        **({"next": following} if query.limit is not None else {}),
    )
    response.add_etag()
    response.make_conditional(request)
    return response


@blueprint.get("/sessions/<session_id>")
def look_at_session(session_id: str) -> Response:
    """Check a session and recover it if it is dead; never create one."""
    query = read_query(LookQuery)
    if query.recover:
        return _handed_over(services().manager.check(session_id, request_deadline()))
    session = services().manager.report(session_id, request_deadline())
    return _handed_over(Acquired(session, created=False, recovery=None))


@blueprint.delete("/sessions/<session_id>")
def close_session(session_id: str) -> Response:
    """Close a session; its processes are gone when this returns."""
    query = read_query(CloseQuery)
    read_body(Nothing)
    if query.keep and services().sessions.get(session_id).key is None:
        raise InvalidRequest(f"Session {session_id} has no key to keep its state for. Omit keep=true.")
    services().manager.close(session_id, request_deadline(), keep=query.keep)
    return jsonify(
        success=True,
        message=f"Session {session_id} closed",
        session_id=session_id,
        active_sessions=len(services().sessions.sessions()),
    )


@blueprint.post("/sessions/<session_id>/lease")
def lease_session(session_id: str) -> Response:
    """Lease a session, or renew the lease whose token is sent."""
    read_query(Nothing)
    body = read_body(LeaseRequest)
    token = request.headers.get(LEASE_TOKEN)
    lease = services().manager.lease(session_id, body.ttl, body.holder, token, request_deadline())
    return jsonify(success=True, lease=granted_json(lease))


@blueprint.delete("/sessions/<session_id>/lease")
def end_lease(session_id: str) -> Response:
    """Release a lease."""
    read_query(Nothing)
    read_body(Nothing)
    services().manager.end_lease(session_id, request.headers.get(LEASE_TOKEN), request_deadline())
    return jsonify(success=True, message=f"Lease of session {session_id} released", session_id=session_id)


@blueprint.get("/sessions/<session_id>/screenshot")
def take_screenshot(session_id: str) -> Response:
    """Return a screenshot of the page in the foreground."""
    read_query(Nothing)
    screenshot = services().manager.screenshot(session_id, request_deadline())
    return Response(screenshot, mimetype="image/png", headers={"Cache-Control": "no-store"})


def _handed_over(acquired: Acquired) -> Response:
    session = acquired.session
    response = jsonify(
        success=True,
        created=acquired.created,
        recovered=acquired.recovery is not None,
        recovery=recovery_json(acquired.recovery),
        session=session_json(session, own_addresses()),
        session_id=session.session_id,
        **({"lease": granted_json(acquired.lease)} if acquired.lease else {}),
    )
    if acquired.created:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = url_for("sessions.look_at_session", session_id=session.session_id)
    return response
