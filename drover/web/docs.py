"""The routes of the OpenAPI document, and of the page on which it can be read and tried."""

from __future__ import annotations

from starlette.responses import Response

from drover.web.assets import file, page
from drover.web.calls import services
from drover.web.rest_routes import RestRoutes, json_response

routes = RestRoutes("Service")

# Swagger UI does not work with this policy: it sets inline styles (swagger-api/swagger-ui#10655).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@routes.get("/openapi.json", media_type="application/json")
def openapi_json() -> Response:
    """Get this document.

    OpenAPI 3.1, generated from the models that validate requests.
    """
    return json_response(services().document())


@routes.get("/docs", media_type="text/html")
def docs_page() -> Response:
    """Show this document as a page on which routes can be tried.

    The page loads nothing from the internet.
    """
    return page("docs.html", POLICY)


@routes.get("/docs/assets/{name}", media_type="text/javascript", has_tag=True, is_listed=False)
def docs_file(name: str) -> Response:
    """Return a file of the page."""
    return file("docs", name, POLICY)
