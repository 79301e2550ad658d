"""What OpenAPI says of a route, written beside the function that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from drover.api.answers import W3cAnswer
from drover.api.validation import Strict
from drover.core.errors import (
    BrowserUnavailable,
    DroverError,
    RecoveryFailed,
    SessionNotFound,
    ShuttingDown,
    StorageUnavailable,
)
from drover.net import access

JSON = "application/json"
UNAVAILABLE = (SessionNotFound, BrowserUnavailable, RecoveryFailed, ShuttingDown, StorageUnavailable)
"""Errors of a route that needs the browser of a session."""
_ATTACH, _STREAMS = "Attach", "Streams"
_W3C = "The result of the command. Errors have the form and status of the W3C WebDriver specification."


@dataclass(frozen=True)
class ResponseDescription:
    """A possible response of a route.

    Attributes:
        meaning: When it is sent, for people.
        models: Possible models of its JSON body; empty if the body is not described by models.
        media_type: Media type of a body without models; None if there is no such body.
        headers: Pairs of a header's name and its meaning.
    """

    meaning: str
    models: tuple[type[BaseModel], ...] = ()
    media_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RouteDescription:
    """One route of the HTTP contract.

    Attributes:
        method: HTTP method in lower case.
        path: Path as OpenAPI writes it, with `{names}`.
        replies: Responses by status; errors are in `errors`.
        errors: Errors that it may return in addition to those of every route.
        short: A minimal useful body, which the page shows first.
        headers: Pairs of a request header's name and its meaning.
        confirm: What the user must confirm before trying it on the page; None if nothing can be lost.
        stays_open: Whether it is a stream or a WebSocket.
        speaks_w3c: Whether its errors have the form of W3C WebDriver.
    """

    method: str
    path: str
    tag: str
    summary: str
    description: str
    replies: Mapping[int, ResponseDescription]
    errors: tuple[type[DroverError], ...] = ()
    body: type[Strict] | None = None
    short: Mapping[str, object] | None = None
    query: type[Strict] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    confirm: str | None = None
    stays_open: bool = False
    speaks_w3c: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it needs no token."""
        return access.is_open(self.path)


class NewSession(Strict):
    """The body of a W3C New Session command."""

    model_config = ConfigDict(extra="allow")

    capabilities: dict[str, Any] = Field(
        examples=[
            {
                "alwaysMatch": {
                    "browserName": "chrome",
                    "drover:options": {"key": "account-17", "idle_timeout": 1800},
                }
            }
        ]
    )
    """W3C capabilities; `drover:options` accepts the fields of the body of `POST /sessions`."""


class Command(Strict):
    """The body of a WebDriver command."""

    model_config = ConfigDict(extra="allow")


class SocketQuery(Strict):
    """The parameters of a WebSocket."""

    token: str | None = None
    """The token, if one is configured; for browsers, which cannot set headers on WebSockets."""


def w3c_command(
    method: str, path: str, summary: str, description: str, body: type[Strict] | None = None
) -> RouteDescription:
    """Return the description of a W3C WebDriver command."""
    replies = {200: ResponseDescription(_W3C, (W3cAnswer,))}
    short = {"url": "https://example.org/"} if body is Command else None
    return RouteDescription(
        method, path, _ATTACH, summary, description, replies, body=body, short=short, speaks_w3c=True
    )


def chromes_answer(
    method: str,
    path: str,
    summary: str,
    description: str,
    *errors: type[DroverError],
    media_type: str = JSON,
) -> RouteDescription:
    """Return the description of a route that answers as Chrome's DevTools do."""
    replies = {200: ResponseDescription("Chrome's response.", media_type=media_type)}
    return RouteDescription(method, path, _ATTACH, summary, description, replies, (*UNAVAILABLE, *errors))


def socket(
    path: str,
    summary: str,
    description: str,
    errors: tuple[type[DroverError], ...] = UNAVAILABLE,
    *,
    query: type[Strict] | None = SocketQuery,
    is_stream: bool = False,
) -> RouteDescription:
    """Return the description of a WebSocket; of a client's DevTools or BiDi, or a stream."""
    replies = {101: ResponseDescription("The WebSocket is open.")}
    tag = _STREAMS if is_stream else _ATTACH
    return RouteDescription(
        "get", path, tag, summary, description, replies, errors, query=query, stays_open=True
    )


def stream(
    path: str,
    summary: str,
    description: str,
    errors: tuple[type[DroverError], ...],
    *,
    of: str,
    media_type: str,
) -> RouteDescription:
    """Return the description of a response that goes on until the client disconnects."""
    replies = {200: ResponseDescription(f"{of} until the client disconnects.", media_type=media_type)}
    return RouteDescription("get", path, _STREAMS, summary, description, replies, errors, stays_open=True)
