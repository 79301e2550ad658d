"""The dashboard: one page, its stylesheet and its modules of JavaScript."""

from __future__ import annotations

import mimetypes

from flask import Blueprint, Response, make_response, render_template

from drover.api.validation import Nothing
from drover.core.version import VERSION
from drover.web.request_parsing import read_query
from drover.web.services import services

# With Trusted Types the browser itself refuses to make markup of a text, should a script ever try.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

# Windows takes types from its registry, where any program may have made plain text of JavaScript; a browser
# runs no such module.
mimetypes.add_type("text/javascript", ".js")

blueprint = Blueprint(
    "dashboard", __name__, static_folder="static", static_url_path="/static", template_folder="templates"
)


@blueprint.get("/")
def dashboard() -> Response:
    """Give the page; all that it shows comes over `/events`."""
    read_query(Nothing)
    return make_response(render_template("dashboard.html", version=VERSION, port=services().settings.port))


@blueprint.after_request
def protect(response: Response) -> Response:
    """Let nothing of the page be loaded from elsewhere, run from elsewhere or be framed.

    Files are asked for anew each time and answered with 304 where they have not changed: a page whose
    modules are of two versions would be worse than a request more.
    """
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache"
    return response
