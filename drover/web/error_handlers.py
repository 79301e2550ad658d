"""The only place that turns errors into responses: always JSON, never a stack trace."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from drover.core.deadline import ClientDisconnected, DeadlineExceeded
from drover.core.errors import BrowserUnavailable, DroverError, InvalidRequest, MethodNotAllowed, NotFound
from drover.net.asgi import failure_body, failure_headers, unexpected

CLIENT_CLOSED_REQUEST = 499


def handle_failures(app: Flask) -> None:
    """Register handlers so that `app` answers every error as the HTTP contract describes."""
    app.register_error_handler(DroverError, _answer)
    app.register_error_handler(DeadlineExceeded, _too_late)
    app.register_error_handler(ClientDisconnected, _client_disconnected)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _answer(error: DroverError) -> Response:
    response = jsonify(failure_body(error))
    response.status_code = error.status
    response.headers.update(failure_headers(error))
    return response


def _too_late(_: DeadlineExceeded) -> Response:
    return _answer(BrowserUnavailable("The browser did not answer in time; retry"))


def _client_disconnected(_: ClientDisconnected) -> Response:
    return Response(status=CLIENT_CLOSED_REQUEST)


def _http(error: HTTPException) -> Response:
    if error.code == HTTPStatus.NOT_FOUND:
        return _answer(NotFound(f"No route {request.method} {request.path}; see /docs for all routes"))
    if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
        valid_methods = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        response = _answer(MethodNotAllowed(f"{request.method} is not allowed here. Use {valid_methods}."))
        response.headers["Allow"] = valid_methods
        return response
    return _answer(InvalidRequest(error.description or "The request is malformed"))


def _unexpected(error: Exception) -> Response:
    return _answer(unexpected(error))
