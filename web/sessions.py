"""Routes on sessions: get or create, list, look at, close."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, url_for
from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, TypeAdapter

from browser import capabilities
from browser.health import Health
from browser.recovery import Recovery
from logs import rfc3339
from session_manager import Acquired, Request
from sessions.session import SESSION_ID, Session
from web.parsing import Nothing, Strict, read_body, read_query
from web.services import request_deadline, services

blueprint = Blueprint("sessions", __name__)

_HTTP_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


def _session_id(value: str) -> str:
    if not SESSION_ID.fullmatch(value):
        raise ValueError("1 to 64 letters, digits, `_` or `-`, and no `_` or `-` at its beginning")
    return value


def _http_url(value: str) -> str:
    _HTTP_URL.validate_python(value)
    return value


def _not_yet(_: object) -> object:
    raise ValueError("not available in this version; send the request without it")


class SessionRequest(Strict):
    """The body of `POST /sessions`; every field is optional."""

    session_id: Annotated[str, AfterValidator(_session_id)] | None = None
    key: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    url: Annotated[str, AfterValidator(_http_url)] | None = None
    capabilities: dict[str, Any] | None = None
    idle_timeout: Annotated[float, Field(ge=0)] | None = None
    keep_alive: Annotated[None, BeforeValidator(_not_yet)] = None
    lease: Annotated[None, BeforeValidator(_not_yet)] = None


class LookQuery(Strict):
    """The parameters of `GET /sessions/{id}`."""

    recover: bool = True


@blueprint.post("/sessions")
def acquire_session() -> Response:
    """Get or create a session."""
    read_query(Nothing)
    body = read_body(SessionRequest)
    settings = services().settings
    wanted = Request(
        session_id=body.session_id,
        key=body.key,
        url=body.url,
        capabilities=capabilities.check(
            body.capabilities or {}, allow_unsafe=settings.allow_unsafe_capabilities
        ),
        idle_timeout=settings.idle_timeout if body.idle_timeout is None else body.idle_timeout,
    )
    return _handed_over(services().manager.acquire(wanted, request_deadline()))


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
        sessions=[session_json(session) for session in sessions],
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


@blueprint.get("/sessions/<session_id>/screenshot")
def take_screenshot(session_id: str) -> Response:
    """Draw the page in front of a session."""
    read_query(Nothing)
    picture = services().manager.screenshot(session_id, request_deadline())
    return Response(picture, mimetype="image/png", headers={"Cache-Control": "no-store"})


def session_json(session: Session) -> dict[str, object]:
    """Give a session as clients see it."""
    running = session.running
    return {
        "session_id": session.session_id,
        "key": session.key,
        "state": session.state.value,
        "in_use": session.in_use,
        "created_at": rfc3339(session.created_at),
        "last_used": rfc3339(session.last_used),
        "idle_timeout": session.idle_timeout,
        "keep_alive": None,
        "lease": None,
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
        "webdriver_url": None,
        "cdp_url": None,
    }


def _handed_over(acquired: Acquired) -> Response:
    session = acquired.session
    response = jsonify(
        success=True,
        created=acquired.created,
        recovered=acquired.recovery is not None,
        recovery=_recovery_json(acquired.recovery),
        session=session_json(session),
        session_id=session.session_id,
    )
    if acquired.created:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = url_for("sessions.look_at_session", session_id=session.session_id)
    return response


def _recovery_json(recovery: Recovery | None) -> dict[str, object] | None:
    return None if recovery is None else asdict(recovery)


def _health_json(health: Health) -> dict[str, object]:
    return {
        "status": health.status.value,
        "reason": health.reason,
        "checked_at": rfc3339(health.checked_at) if health.checked_at else None,
        "latency_ms": health.latency_ms,
    }
