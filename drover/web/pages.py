"""The dashboard, the page of the docs, and their files, read from the package when they are requested.

The docs are the OpenAPI document, and a page on which it can be read and tried.
"""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from starlette.responses import Response

from drover.core.errors import NotFound
from drover.core.version import VERSION
from drover.web.calls import services
from drover.web.rest_routes import RestRoutes, json_response

routes = RestRoutes("Service")

_HERE = Path(__file__).parent
_INCLUDE = re.compile(r'{% include "([\w/.]+)" %}')

# On Windows the types come from the registry, where another program may have registered JavaScript as plain
# text; browsers do not run modules of that type.
mimetypes.add_type("text/javascript", ".js")

SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
"""Headers of every page and file. Browsers revalidate every file, and get 304 if it has not changed: an extra
request is better than a page with modules of two versions."""
# With Trusted Types the browser refuses to turn text into markup, even if a script tries to.
_DASHBOARD_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# Swagger UI does not work with this policy: it sets inline styles (swagger-api/swagger-ui#10655).
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@routes.add("get", "/openapi.json", media_type="application/json")
def openapi_json() -> Response:
    """Get this document.

    OpenAPI 3.1, generated from the models that validate requests.
    """
    return json_response(services().document())


@routes.add("get", "/docs", media_type="text/html")
def docs_page() -> Response:
    """Show this document as a page on which routes can be tried.

    The page loads nothing from the internet.
    """
    return _page("docs.html", _DOCS_POLICY)


@routes.add("get", "/docs/assets/{name}", media_type="text/javascript", has_tag=True, is_listed=False)
def docs_file(name: str) -> Response:
    """Return a file of the page."""
    return _file("docs", name, _DOCS_POLICY)


@routes.add("get", "/", media_type="text/html")
def dashboard() -> Response:
    """Show the dashboard.

    Live view of sessions, processes and recent events.
    """
    return _page("dashboard.html", _DASHBOARD_POLICY)


@routes.add("get", "/static/{name}", media_type="text/javascript", has_tag=True, is_listed=False)
def dashboard_file(name: str) -> Response:
    """Return a file of the page."""
    return _file("", name, _DASHBOARD_POLICY)


def _page(name: str, policy: str) -> Response:
    """Return a page with its parts and the version, and with a Content-Security-Policy."""
    html = _INCLUDE.sub(lambda found: _template(found[1]), _template(name)).replace("{{ version }}", VERSION)
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": policy} | SAFE)


def _file(folder: str, name: str, policy: str) -> Response:
    """Return a file of a folder below `static`."""
    parent = _HERE / "static" / folder
    # Asked for by name alone, the system may refuse it, or open a device.
    path = next((one for one in parent.iterdir() if one.name == name and one.is_file()), None)
    if path is None:
        raise NotFound(f"No file {name}; see /docs for all routes")
    headers = {"Content-Security-Policy": policy} | SAFE
    return Response(path.read_bytes(), media_type=mimetypes.guess_type(name)[0], headers=headers)


def _template(name: str) -> str:
    return (_HERE / "templates" / name).read_text(encoding="utf-8")
