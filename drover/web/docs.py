"""The routes of the OpenAPI document, and of the page on which it can be read and tried."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template

from drover.web.rest_routes import RestRoutes
from drover.web.services import services

routes = RestRoutes(
    "Service",
    Blueprint(
        "docs",
        __name__,
        template_folder="templates",
        static_folder="static/docs",
        static_url_path="/docs/assets",
    ),
)

# Swagger UI does not work with this policy: it sets inline styles (swagger-api/swagger-ui#10655).
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@routes.get("/openapi.json", media_type="application/json")
def openapi_json() -> Response:
    """Get this document.

    OpenAPI 3.1, generated from the models that validate requests.
    """
    return jsonify(services().document())


@routes.get("/docs", media_type="text/html")
def docs_page() -> Response:
    """Show this document as a page on which routes can be tried.

    The page loads nothing from the internet.
    """
    page = make_response(render_template("docs.html"))
    page.headers.update(_PAGE_HEADERS)
    return page
