"""Routes on the service itself."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Final

from starlette.responses import Response

from drover.api.service_answers import (
    DrainAnswer,
    NodeList,
    NodeObject,
    NotReadyCode,
    ServiceHealth,
    ServiceNotReady,
    ServiceReady,
    ServiceUnhealthy,
)
from drover.core.log_context import naming_request
from drover.core.version import VERSION
from drover.web.calls import Readiness, own_addresses, services
from drover.web.metrics import CONTENT_TYPE
from drover.web.rest_routes import RestRoutes

routes = RestRoutes("Service")
_ENDS: Final = "The service is {} and accepts no new sessions; use another one"
_NOT_READY: Final[Mapping[Readiness, tuple[NotReadyCode, str]]] = {
    Readiness.STARTING: (
        "browser_unavailable",
        "The service is starting: it looks for the sessions of its last run. Retry in a moment",
    ),
    Readiness.DRAINING: ("shutting_down", _ENDS.format("draining")),
    Readiness.STOPPING: ("shutting_down", _ENDS.format("stopping")),
    Readiness.WITHOUT_DATABASE: (
        "storage_unavailable",
        "This machine serves no session, because the database does not answer; use another one",
    ),
}


@routes.add("get", "/health")
def health() -> ServiceHealth | ServiceUnhealthy:
    """Check whether browsers can be handed out.

    The only route that needs no token.
    """
    places = services().sessions
    sessions = places.sessions()
    reason = services().unavailable
    values: dict[str, object] = {
        "success": not reason,
        "status": "unhealthy" if reason else "healthy",
        "service": "drover",
        "version": VERSION,
        "active_sessions": len(sessions),
        "max_sessions": places.max_sessions,
        "session_capacity": f"{len(sessions)}/{places.max_sessions}",
        "warm": places.warm_count(),
        "persistent_sessions": sum(1 for session in sessions if session.key is not None),
        "uptime_s": round(time.monotonic() - services().started, 1),
        "timestamp": datetime.now(timezone.utc),
    }
    if reason:
        return ServiceUnhealthy.model_validate(values | {"reason": reason})
    return ServiceHealth.model_validate(values)


@routes.add("get", "/ready")
def ready() -> ServiceReady | ServiceNotReady:
    """Check whether new sessions are accepted.

    For load balancers and readiness probes. 503 says nothing about the sessions that exist: in a drain they
    go on.
    """
    readiness, sessions = services().readiness, services().active_sessions
    if readiness is Readiness.READY:
        return ServiceReady(success=True, status="ready", active_sessions=sessions)
    code, error = _NOT_READY[readiness]
    return ServiceNotReady(
        success=False,
        error=naming_request(error),
        code=code,
        status=readiness.value,
        active_sessions=sessions,
    )


@routes.add("get", "/nodes")
def nodes() -> NodeList:
    """List the machines of the service.

    Those that live, and those that are lost and have not come back under their names.
    """
    cluster = services().cluster
    listed = [_this_node()] if cluster is None else [NodeObject.of(node) for node in cluster.nodes]
    return NodeList(success=True, nodes=listed)


def _this_node() -> NodeObject:
    """Return this machine in the form in which several are listed."""
    settings, sessions = services().settings, services().sessions
    return NodeObject(
        name=settings.node_name or f"{platform.node()}:{settings.port}",
        url=settings.node_url or own_addresses().service,
        state="draining" if sessions.draining else "up",
        sessions=services().active_sessions,
        max_sessions=sessions.max_sessions,
        seen_at=datetime.now(timezone.utc),
        version=VERSION,
    )


@routes.add("post", "/drain", confirm="This stops the service when its sessions have ended.")
def drain() -> DrainAnswer:
    """Let the sessions end, then stop the service.

    Accepts no new sessions from now on. A session with a key that was not used for 30 s is closed and its
    state is kept; the others go on until they end, at most for `DROVER_DRAIN_TIMEOUT`. Then the service
    stops. Returns immediately; a second call changes nothing.
    """
    remaining_s = round(services().drain.begin(), 1)
    sessions = services().active_sessions
    return DrainAnswer(
        success=True,
        message=f"Draining: {sessions} sessions go on for at most {remaining_s:g} s; then the service stops",
        status="draining",
        active_sessions=sessions,
        remaining_s=remaining_s,
    )


@routes.add("get", "/metrics", media_type="text/plain")
def metrics() -> Response:
    """Get metrics for Prometheus.

    Counters since the start and current gauges. It calls no browser.
    """
    return Response(services().metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})
