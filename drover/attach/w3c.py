"""W3C WebDriver: the JSON form of errors, and capability matching."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus

from drover.browser.capabilities.policy import CheckedCapabilities, Policy
from drover.browser.capabilities.values import mapping
from drover.browser.driver_state import Refusal
from drover.core import errors
from drover.core.errors import DroverError, ForbiddenCapability, InvalidRequest, SessionNotCreated
from drover.net.asgi import (
    Response,
    Scope,
    failure_answer,
    failure_headers,
    json_answer,
    message_of,
    raw_headers,
)

OPTIONS = "drover:options"

_OTHER_BROWSERS = ("moz:", "ms:", "safari:", "webkit:", "wpe:")

# Errors for which the standard has a code; all others are its "unknown error".
_WORDS: tuple[tuple[type[DroverError], str], ...] = (
    (errors.SessionNotFound, "invalid session id"),
    (errors.NotFound, "unknown command"),
    (errors.MethodNotAllowed, "unknown method"),
    (errors.SessionNotCreated, "session not created"),
    (errors.InvalidRequest, "invalid argument"),
    (errors.RequestTooLarge, "invalid argument"),
    (errors.UnsupportedMediaType, "invalid argument"),
    (errors.ForbiddenCapability, "session not created"),
)
_REFUSALS = {
    Refusal.FRAME: (
        "no such frame",
        (
            "The session was recovered and its frame is no longer there. Switch to the top of the page with "
            'POST /frame {"id": null}, then to a frame.'
        ),
        HTTPStatus.NOT_FOUND,
    ),
    Refusal.WINDOW: (
        "no such window",
        "The session was recovered and its window had been closed. Switch to another window.",
        HTTPStatus.NOT_FOUND,
    ),
    Refusal.ACTIONS: (
        "unknown error",
        (
            "The session was recovered, and the position of the pointer and what was pressed are lost. Move "
            "the pointer to an element or a point of the view first, or release the actions."
        ),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    ),
}
_NO_SESSION = (
    errors.AtCapacity,
    errors.BrowserUnavailable,
    errors.KeyConflict,
    errors.Overloaded,
    errors.RecoveryFailed,
    errors.SessionInUse,
    errors.SessionLost,
    errors.ShuttingDown,
    errors.StorageUnavailable,
)


def failure(error: DroverError) -> Response:
    """Return the W3C response to a command that failed."""
    word = next((word for kind, word in _WORDS if isinstance(error, kind)), "unknown error")
    return _failure(word, error)


def creation_failure(error: DroverError) -> Response:
    """Return the W3C response to a New Session command that failed."""
    if isinstance(error, _NO_SESSION):
        return _failure("session not created", error)
    return failure(error)


def is_command(scope: Scope) -> bool:
    """Return whether a request is for the W3C remote end."""
    return str(scope["path"]).startswith("/wd/hub")


def failure_at(scope: Scope, error: DroverError) -> Response:
    """Return the response to a request that failed before it was routed, in the form of its endpoint."""
    if not is_command(scope):
        return failure_answer(error)
    creates = scope.get("method") == "POST" and scope["path"].rstrip("/") == "/wd/hub/session"
    return creation_failure(error) if creates else failure(error)


def unavailable(error: errors.StorageUnavailable) -> Response:
    """Return the response to a command outside of the standard that the disk does not allow now: 503."""
    return replace(failure(error), status=error.status)


def unknown_error(message: str) -> Response:
    """Return the W3C response for an error that has no code of its own."""
    return _error("unknown error", message, HTTPStatus.INTERNAL_SERVER_ERROR)


def refused(refusal: Refusal) -> Response:
    """Return the W3C response to a command that depends on what a recovery could not set again."""
    return _error(*_REFUSALS[refusal])


def value(content: object) -> Response:
    """Return the W3C response to a command that succeeded."""
    return json_answer({"value": content}, headers=((b"cache-control", b"no-cache"),))


def read_object(body: bytes) -> Mapping[str, object]:
    """Return the body of a command as an object.

    Raises:
        InvalidRequest: It is not a JSON object.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON ({error}). Send a JSON object.") from error
    if not isinstance(content, dict):
        raise InvalidRequest("The body is not a JSON object. Send an object such as {}.")
    return content


def match(asked: object, policy: Policy) -> tuple[CheckedCapabilities, Mapping[str, object]]:
    """Match and check requested capabilities as the standard prescribes.

    Args:
        asked: The value of `capabilities` in the body of New Session.
        policy: Decides what is passed on, set aside or refused.

    Returns:
        The capabilities of the first alternative that matches this Chrome and is allowed, and its
        `drover:options`, which have the fields of the body of `POST /sessions`. An alternative with
        another browser's options comes after those without.

    Raises:
        InvalidRequest: The capabilities are malformed, or name one twice.
        ForbiddenCapability: The only matching alternatives contain a forbidden capability.
        SessionNotCreated: No alternative matches this Chrome.
    """
    refused: list[ForbiddenCapability] = []
    unmatched: list[SessionNotCreated] = []
    for merged in sorted(_alternatives(asked), key=_names_another_browser):
        options = mapping(merged.pop(OPTIONS, {}), OPTIONS)
        within = mapping(options.get("capabilities") or {}, f"{OPTIONS}.capabilities")
        try:
            checked = policy.check(_joined(merged, within, OPTIONS))
        except ForbiddenCapability as error:
            refused.append(error)
        except SessionNotCreated as error:
            unmatched.append(error)
        else:
            return checked, {name: one for name, one in options.items() if name != "capabilities"}
    raise [*refused, *unmatched][0]


def _alternatives(asked: object) -> Iterator[dict[str, object]]:
    wanted = mapping(asked, "capabilities")
    always = mapping(wanted.get("alwaysMatch", {}), "capabilities.alwaysMatch")
    first = wanted.get("firstMatch", [{}])
    if not isinstance(first, list) or not first:
        raise InvalidRequest("capabilities.firstMatch is not a list with at least one object")
    for number, one in enumerate(first):
        field = f"capabilities.firstMatch.{number}"
        yield _joined(always, mapping(one, field), field)


def _joined(one: Mapping[str, object], other: Mapping[str, object], field: str) -> dict[str, object]:
    # The standard treats null like an absent capability.
    parts = [
        {name: content for name, content in part.items() if content is not None} for part in (one, other)
    ]
    twice = sorted(set(parts[0]) & set(parts[1]))
    if twice:
        raise InvalidRequest(f"{field} repeats {twice[0]}, which is already set elsewhere. Send it once.")
    return parts[0] | parts[1]


def _names_another_browser(asked: Mapping[str, object]) -> bool:
    return any(name.startswith(_OTHER_BROWSERS) for name in asked)


def _error(word: str, message: str, status: int) -> Response:
    return json_answer({"value": {"error": word, "message": message, "stacktrace": ""}}, status)


def _failure(word: str, error: DroverError) -> Response:
    data = {"code": error.code} | (error.details or {})
    content = {"value": {"error": word, "message": message_of(error), "stacktrace": "", "data": data}}
    return json_answer(content, _status(error), raw_headers(failure_headers(error).items()))


def _status(error: DroverError) -> int:
    # The standard uses 500 for temporary failures. At 503 some clients retry on their own, and in the end
    # show a message of their own instead of ours.
    unavailable = error.status == HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.INTERNAL_SERVER_ERROR if unavailable else error.status
