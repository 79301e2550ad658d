"""On which threads a request runs, decided by its method and path."""

from __future__ import annotations

import pytest

from drover.web.driver_routes import DRIVER_ROUTES
from drover.web.rest_application import Waits, waits
from drover.web.route_table import ROUTES

ENDS = {
    "delete /keys/{key}",
    "delete /sessions/{session_id}",
    "delete /sessions/{session_id}/lease",
    "post /cleanup_orphaned_processes",
    "post /drain",
    "post /emergency_recovery",
}
FROM_MEMORY = {
    "get /",
    "get /docs",
    "get /health",
    "get /metrics",
    "get /openapi.json",
    "get /processes",
    "get /ready",
    "get /sessions",
    "get /sessions/{session_id}/history",
}
REST = [f"{route.method} {route.path}" for route in ROUTES if route not in DRIVER_ROUTES]


@pytest.mark.parametrize("route", REST)
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_waits_for_what_it_needs_and_for_nothing_else(route: str, slash: str) -> None:
    method, path = route.split()
    found = waits(method.upper(), path.format(session_id="a", key="k") + slash)
    if route in ENDS:
        assert found is Waits.FOR_AN_END
    elif route in FROM_MEMORY:
        assert found is Waits.FOR_NOTHING
    else:
        assert found is Waits.FOR_A_SESSION
