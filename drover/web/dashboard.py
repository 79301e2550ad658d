"""The dashboard: one page, its stylesheet and its JavaScript modules."""

from __future__ import annotations

import mimetypes

from flask import Blueprint, Response, make_response, render_template

from drover.core.version import VERSION
from drover.web.rest_routes import RestRoutes
from drover.web.services import services

# With Trusted Types the browser refuses to turn text into markup, even if a script tries to.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

# On Windows the types come from the registry, where another program may have registered JavaScript as plain
# text; browsers do not run modules of that type.
mimetypes.add_type("text/javascript", ".js")

routes = RestRoutes(
    "Service",
    Blueprint(
        "dashboard", __name__, static_folder="static", static_url_path="/static", template_folder="templates"
    ),
)


@routes.get("/", media_type="text/html")
def dashboard() -> Response:
    """Show the dashboard.

    Live view of sessions, processes and recent events.
    """
    return make_response(render_template("dashboard.html", version=VERSION, port=services().settings.port))


@routes.blueprint.after_request
def protect(response: Response) -> Response:
    """Add headers that forbid content from other hosts and framing.

    Browsers revalidate every file, and get 304 if it has not changed: an extra request is better than a page
    with modules of two versions.
    """
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache"
    return response
