"""From errors to answers, in one place: always JSON, never a stack trace."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from deadline import CallerGone, DeadlineExceeded
from errors import BrowserUnavailable, DroverError, InvalidRequest, MethodNotAllowed, NotFound, Unauthorized
from security import WWW_AUTHENTICATE

_logger = logging.getLogger("drover")

CLIENT_CLOSED_REQUEST = 499


def failure_body(error: DroverError) -> dict[str, object]:
    """Give the JSON body of a failure."""
    details = {"details": error.details} if error.details else {}
    return {"success": False, "error": error.message, "code": error.code} | details


def failure_headers(error: DroverError) -> dict[str, str]:
    """Give the headers that go with a failure."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = WWW_AUTHENTICATE
    return headers


def handle_failures(app: Flask) -> None:
    """Let `app` answer every error as the contract has it."""
    app.register_error_handler(DroverError, _answer)
    app.register_error_handler(DeadlineExceeded, _too_late)
    app.register_error_handler(CallerGone, _nobody_listens)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _answer(error: DroverError) -> Response:
    response = jsonify(failure_body(error))
    response.status_code = error.status
    response.headers.update(failure_headers(error))
    return response


def _too_late(_: DeadlineExceeded) -> Response:
    return _answer(BrowserUnavailable("The browser did not answer in time; ask again"))


def _nobody_listens(_: CallerGone) -> Response:
    return Response(status=CLIENT_CLOSED_REQUEST)


def _http(error: HTTPException) -> Response:
    if error.code == HTTPStatus.NOT_FOUND:
        return _answer(NotFound("There is no such route; the README lists them all"))
    if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
        valid_methods = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        response = _answer(MethodNotAllowed(f"This route takes {valid_methods}"))
        response.headers["Allow"] = valid_methods
        return response
    return _answer(InvalidRequest(error.description or "The request is malformed"))


def _unexpected(error: Exception) -> Response:
    _logger.error("A request failed unexpectedly: %s", type(error).__name__, exc_info=error)
    return _answer(DroverError("Something unexpected went wrong; the service's log tells what"))
