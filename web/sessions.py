"""Routes on sessions: get or create, list, look at, close."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request, url_for
from pydantic import AfterValidator, Field, HttpUrl, TypeAdapter

from drover.browser.capabilities import policy
from drover.browser.capabilities.policy import Checked
from drover.browser.health import Health
from drover.browser.recovery import Recovery
from drover.core.logs import rfc3339
from drover.net.addresses import Addresses
from drover.sessions.pool.handover import Acquired, Request
from drover.sessions.pool.session import MAX_HOLDER, SESSION_ID, KeepAlive, Lease, Session
from web.parsing import Nothing, Strict, read_body, read_query
from web.services import own_addresses, request_deadline, services

blueprint = Blueprint("sessions", __name__)

LEASE_TOKEN = "Lease-Token"  # noqa: S105 - the name of a header
MAX_LEASE_S = 7 * 24 * 3600

_HTTP_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


def _session_id(value: str) -> str:
    if not SESSION_ID.fullmatch(value):
        raise ValueError("1 to 64 letters, digits, `_` or `-`, and no `_` or `-` at its beginning")
    return value


def _http_url(value: str) -> str:
    _HTTP_URL.validate_python(value)
    return value


SessionName = Annotated[
    str,
    AfterValidator(_session_id),
    Field(json_schema_extra={"pattern": f"^{SESSION_ID.pattern}$"}, examples=["first"]),
]
Url = Annotated[
    str,
    AfterValidator(_http_url),
    Field(json_schema_extra={"format": "uri"}, examples=["https://example.org/"]),
]


class KeepAliveRequest(Strict):
    """A page to open in the background every `interval` seconds, while nobody uses the session."""

    url: Url
    """The page's address."""
    interval: Annotated[float, Field(ge=1, examples=[300])]
    """Seconds between two visits."""


class LeaseRequest(Strict):
    """A lease of `ttl` seconds; `holder` is for people."""

    ttl: Annotated[float, Field(gt=0, le=MAX_LEASE_S, examples=[60])]
    """Seconds until it ends by itself."""
    holder: Annotated[str, Field(min_length=1, max_length=MAX_HOLDER, examples=["nightly-report"])] | None = (
        None
    )
    """Who holds it, for people."""


class SessionRequest(Strict):
    """The body of `POST /sessions`; every field is optional."""

    session_id: SessionName | None = None
    """Retrieve this session, or create it under this name."""
    key: Annotated[str, Field(min_length=1, max_length=256, examples=["account-17"])] | None = None
    """Persistent mapping: the same key always leads to the same session."""
    url: Url | None = None
    """First page, opened only when the session is created."""
    capabilities: dict[str, Any] | None = Field(default=None, examples=[{"pageLoadStrategy": "eager"}])
    """W3C capabilities as in `alwaysMatch`; checked against an allow-list."""
    idle_timeout: Annotated[float, Field(ge=0, examples=[1800])] | None = None
    """Seconds unused after which it is closed; 0 = never; default from the settings."""
    keep_alive: KeepAliveRequest | None = None
    """A page to open in a background tab while nobody uses the session."""
    lease: LeaseRequest | None = None
    """Hand it over already in use."""


class LookQuery(Strict):
    """The parameters of `GET /sessions/{id}`."""

    recover: bool = True
    """Heal the session where it is dead; false only reports."""


@blueprint.post("/sessions")
def acquire_session() -> Response:
    """Get or create a session."""
    read_query(Nothing)
    body = read_body(SessionRequest)
    allow_unsafe = services().settings.allow_unsafe_capabilities
    checked = policy.check(body.capabilities or {}, allow_unsafe=allow_unsafe)
    wanted = request_of(body, checked, request.headers.get(LEASE_TOKEN))
    return _handed_over(services().manager.acquire(wanted, request_deadline()))


def request_of(
    body: SessionRequest, checked: Checked, token: str | None, *, ends_with_last_window: bool = False
) -> Request:
    """Give what a client asks for: its body, its checked capabilities, and the token of its lease."""
    return Request(
        session_id=body.session_id,
        key=body.key,
        url=body.url,
        capabilities=checked,
        idle_timeout=body.idle_timeout,
        keep_alive=KeepAlive(body.keep_alive.url, body.keep_alive.interval) if body.keep_alive else None,
        lease_s=body.lease.ttl if body.lease else None,
        holder=body.lease.holder if body.lease else None,
        token=token,
        ends_with_last_window=ends_with_last_window,
    )


@blueprint.get("/sessions")
def list_sessions() -> Response:
    """List all sessions, from what is known now."""
    read_query(Nothing)
    sessions = services().manager.registry.sessions()
    limit = services().manager.registry.max_sessions
    return jsonify(
        success=True,
        active_sessions=len(sessions),
        max_sessions=limit,
        session_capacity=f"{len(sessions)}/{limit}",
        sessions=[session_json(session, own_addresses()) for session in sessions],
    )


@blueprint.get("/sessions/<session_id>")
def look_at_session(session_id: str) -> Response:
    """Check a session and heal it where it is dead; never create one."""
    query = read_query(LookQuery)
    if query.recover:
        return _handed_over(services().manager.check(session_id, request_deadline()))
    session = services().manager.report(session_id, request_deadline())
    return _handed_over(Acquired(session, created=False, recovery=None))


@blueprint.delete("/sessions/<session_id>")
def close_session(session_id: str) -> Response:
    """Close a session; its processes are gone when this answers."""
    read_query(Nothing)
    read_body(Nothing)
    services().manager.close(session_id, request_deadline())
    return jsonify(
        success=True,
        message=f"Session {session_id} closed",
        session_id=session_id,
        active_sessions=len(services().manager.registry.sessions()),
    )


@blueprint.post("/sessions/<session_id>/lease")
def lease_session(session_id: str) -> Response:
    """Lease a session, or renew the lease whose token is shown."""
    read_query(Nothing)
    body = read_body(LeaseRequest)
    token = request.headers.get(LEASE_TOKEN)
    lease = services().manager.lease(session_id, body.ttl, body.holder, token)
    return jsonify(success=True, lease=granted_json(lease))


@blueprint.delete("/sessions/<session_id>/lease")
def end_lease(session_id: str) -> Response:
    """Give a lease back."""
    read_query(Nothing)
    read_body(Nothing)
    services().manager.end_lease(session_id, request.headers.get(LEASE_TOKEN))
    return jsonify(success=True, message=f"Lease of session {session_id} given back", session_id=session_id)


@blueprint.get("/sessions/<session_id>/screenshot")
def take_screenshot(session_id: str) -> Response:
    """Draw the page in front of a session."""
    read_query(Nothing)
    picture = services().manager.screenshot(session_id, request_deadline())
    return Response(picture, mimetype="image/png", headers={"Cache-Control": "no-store"})


def session_json(session: Session, addresses: Addresses) -> dict[str, object]:
    """Give a session as clients see it, with the addresses of the doors through which it is driven."""
    running = session.running
    return {
        "session_id": session.session_id,
        "key": session.key,
        "state": session.state.value,
        "in_use": session.in_use,
        "created_at": rfc3339(session.created_at),
        "last_used": rfc3339(session.last_used),
        "idle_timeout": session.idle_timeout,
        "keep_alive": asdict(session.keep_alive) if session.keep_alive else None,
        "lease": _lease_json(session.lease),
        "recoveries": session.recoveries,
        "last_recovery": _recovery_json(session.last_recovery),
        "health": _health_json(session.health),
        "current_url": session.current_url,
        "memory_mb": session.memory_mb,
        "driver": running
        and {
            "pid": running.driver.pid,
            "url": running.driver_url,
            "session_id": running.driver_session_id,
        },
        "browser": running
        and {
            "pid": running.browser.pid,
            "version": running.browser_version,
            "debugger_address": running.debugger_address,
        },
        "webdriver_url": addresses.webdriver,
        "cdp_url": addresses.cdp(session.session_id),
    }


def _handed_over(acquired: Acquired) -> Response:
    session = acquired.session
    response = jsonify(
        success=True,
        created=acquired.created,
        recovered=acquired.recovery is not None,
        recovery=_recovery_json(acquired.recovery),
        session=session_json(session, own_addresses()),
        session_id=session.session_id,
        **({"lease": granted_json(acquired.lease)} if acquired.lease else {}),
    )
    if acquired.created:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = url_for("sessions.look_at_session", session_id=session.session_id)
    return response


def _lease_json(lease: Lease | None) -> dict[str, object] | None:
    return None if lease is None else {"holder": lease.holder, "expires_at": rfc3339(lease.expires_at)}


def granted_json(lease: Lease) -> dict[str, object]:
    """Give a lease with its token, which nobody but the one to whom it is granted may see."""
    return {"holder": lease.holder, "token": lease.token, "expires_at": rfc3339(lease.expires_at)}


def _recovery_json(recovery: Recovery | None) -> dict[str, object] | None:
    return None if recovery is None else asdict(recovery)


def _health_json(health: Health) -> dict[str, object]:
    return {
        "status": health.status.value,
        "reason": health.reason,
        "checked_at": rfc3339(health.checked_at) if health.checked_at else None,
        "latency_ms": health.latency_ms,
    }
