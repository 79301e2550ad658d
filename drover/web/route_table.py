"""All routes as one OpenAPI document, built from what is said of each beside its function."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from drover.attach import (
    bidi_sockets,
    devtools_http,
    devtools_sockets,
    event_stream,
    live,
    view_sockets,
    webdriver,
)
from drover.core.version import VERSION
from drover.web import key_routes, pages, process_routes, service_routes, session_routes
from drover.web.field_descriptions import DescribedSchema
from drover.web.route_descriptions import COMPONENT, models_of, operation, without_nulls

REST_ROUTES = (
    session_routes.routes,
    key_routes.routes,
    process_routes.routes,
    service_routes.routes,
    pages.routes,
)
DRIVER_ROUTES = (
    *webdriver.DESCRIPTIONS,
    *devtools_http.DESCRIPTIONS,
    *devtools_sockets.DESCRIPTIONS,
    *bidi_sockets.DESCRIPTIONS,
    *live.DESCRIPTIONS,
    *view_sockets.DESCRIPTIONS,
    *event_stream.DESCRIPTIONS,
)
ROUTES = (*(route for group in REST_ROUTES for route in group.described), *DRIVER_ROUTES)

_TAGS = {
    "Sessions": "Chrome sessions: get, check, lease, close.",
    "Keys": "What is kept for keys when their sessions end.",
    "Processes": "The ChromeDriver and Chrome processes on this machine.",
    "Service": "The service itself.",
    "Attach": "Endpoints for WebDriver, CDP and BiDi clients.",
    "Streams": "Connections that stay open.",
}
_DESCRIPTION = """Chrome sessions over HTTP, kept alive, with nothing left behind.

Times are in UTC in RFC 3339 format. Durations are in seconds, except fields whose name ends in `_ms`. A
failed request gets `success` false, a message in `error`, and a `code`. Every response has an `X-Request-ID`,
which its lines in the log name. Unknown fields and parameters are refused by name."""
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "DROVER_API_TOKEN, if it is set"},
    "basic": {"type": "http", "scheme": "basic", "description": "The token as password, with any user name"},
}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; it contains no values of the settings."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = operation(route)
    models = sorted({model for route in ROUTES for model in models_of(route)}, key=lambda one: one.__name__)
    _, schemas = models_json_schema(
        [(one, "validation") for one in models], ref_template=COMPONENT, schema_generator=DescribedSchema
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Drover", "description": _DESCRIPTION, "version": VERSION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": without_nulls(schemas["$defs"]), "securitySchemes": _SECURITY_SCHEMES},
        "security": [{}, {"bearer": []}, {"basic": []}],
        "tags": [{"name": name, "description": meaning} for name, meaning in _TAGS.items()],
    }
