"""The dashboard: one page, its stylesheet and its JavaScript modules."""

from __future__ import annotations

from starlette.responses import Response

from drover.web.assets import file, page
from drover.web.rest_routes import RestRoutes

routes = RestRoutes("Service")

# With Trusted Types the browser refuses to turn text into markup, even if a script tries to.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@routes.get("/", media_type="text/html")
def dashboard() -> Response:
    """Show the dashboard.

    Live view of sessions, processes and recent events.
    """
    return page("dashboard.html", CONTENT_SECURITY_POLICY)


@routes.get("/static/{name}", media_type="text/javascript", has_tag=True, is_listed=False)
def dashboard_file(name: str) -> Response:
    """Return a file of the page."""
    return file("", name, CONTENT_SECURITY_POLICY)
