"""Routes on the service itself."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from drover.api.validation import Nothing
from drover.core.logs import rfc3339
from drover.core.version import VERSION
from drover.web.metrics import CONTENT_TYPE
from drover.web.request_parsing import read_query
from drover.web.services import services

blueprint = Blueprint("service", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Return whether the service can hand out browsers, and how many places are used."""
    read_query(Nothing)
    registry = services().manager.registry
    sessions = registry.sessions()
    reason = services().unavailable
    response = jsonify(
        success=not reason,
        status="unhealthy" if reason else "healthy",
        service="drover",
        version=VERSION,
        active_sessions=len(sessions),
        max_sessions=registry.max_sessions,
        session_capacity=f"{len(sessions)}/{registry.max_sessions}",
        warm=registry.warm_count(),
        persistent_sessions=sum(1 for session in sessions if session.key is not None),
        uptime_s=round(time.monotonic() - services().started, 1),
        timestamp=rfc3339(datetime.now(timezone.utc)),
        **({"reason": reason} if reason else {}),
    )
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
    return response


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return the metrics for Prometheus."""
    read_query(Nothing)
    return Response(services().metrics.exposition(), content_type=CONTENT_TYPE)
