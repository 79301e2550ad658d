"""The routes that are answered outside of Flask: the doors for drivers, and what stays open."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from drover.api.answers import W3cAnswer
from drover.api.validation import Strict
from drover.core.errors import BrowserUnavailable, RecoveryFailed, SessionNotFound, ShuttingDown
from drover.web.route_descriptions import ResponseDescription, RouteDescription

ATTACH, STREAMS = "Attach", "Streams"
_UNAVAILABLE = (SessionNotFound, BrowserUnavailable, RecoveryFailed, ShuttingDown)
_W3C = "It gives an error of W3C WebDriver, with the status that the specification has for it."


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
    """W3C capabilities; `drover:options` takes the fields of `POST /sessions`."""


class Command(Strict):
    """The body of a WebDriver command."""

    model_config = ConfigDict(extra="allow")


class SocketQuery(Strict):
    """The parameters of a WebSocket."""

    token: str | None = None
    """The token, where one is configured: browsers cannot set headers on WebSockets."""


def _w3c(
    method: str, path: str, summary: str, description: str, body: type[Strict] | None = None
) -> RouteDescription:
    replies = {200: ResponseDescription(f"What the command gives. {_W3C}", (W3cAnswer,))}
    short = {"url": "https://example.org/"} if body is Command else None
    return RouteDescription(
        method, path, ATTACH, summary, description, replies, body=body, short=short, speaks_w3c=True
    )


DRIVER_ROUTES = (
    _w3c("get", "/wd/hub/status", "Tell whether sessions can be made", "W3C Status."),
    _w3c(
        "post",
        "/wd/hub/session",
        "Make a session over WebDriver",
        "W3C New Session. The id is that of the managed session; with `webSocketUrl: true` the answer names "
        "an address for BiDi on this port.",
        NewSession,
    ),
    _w3c(
        "delete",
        "/wd/hub/session/{session_id}",
        "End a session over WebDriver",
        "W3C Delete Session; the same as DELETE /sessions/{session_id}.",
    ),
    *(
        _w3c(
            method,
            "/wd/hub/session/{session_id}/{command}",
            f"Run a WebDriver command ({method.upper()})",
            "Handed on to the session's ChromeDriver, and the session is healed first where it is dead. The "
            "id stays the same through recoveries. `se/file` takes uploads, `se/files` gives downloads.",
            Command if method == "post" else None,
        )
        for method in ("get", "post", "delete")
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/json/version",
        ATTACH,
        "Give the browser's DevTools version, for connect over CDP",
        "As Chrome answers it, with a WebSocket address on this port.",
        {200: ResponseDescription("Chrome's answer.", media_type="application/json")},
        errors=_UNAVAILABLE,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/json/list",
        ATTACH,
        "List the browser's DevTools targets",
        "As Chrome answers it.",
        {200: ResponseDescription("Chrome's answer.", media_type="application/json")},
        errors=_UNAVAILABLE,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/cdp",
        ATTACH,
        "Speak CDP with the browser",
        "A WebSocket, for Playwright's connect_over_cdp and Puppeteer's connect. The session is in use while "
        "it is open.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=_UNAVAILABLE,
        query=SocketQuery,
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/devtools/page/{target_id}",
        ATTACH,
        "Speak CDP with one page",
        "A WebSocket; `/sessions/{session_id}/json/list` gives the ids.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=_UNAVAILABLE,
        query=SocketQuery,
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/bidi/{secret}",
        ATTACH,
        "Speak BiDi with a session",
        "A WebSocket at the address that New Session gave for `webSocketUrl: true`; the address is the "
        "credential, so no token is asked for.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=_UNAVAILABLE,
        stays_open=True,
        is_open=True,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/live",
        STREAMS,
        "Watch a session",
        "JPEG pictures of the page in front, as an `<img>` shows them; no use of the session, and it heals "
        "nothing.",
        {
            200: ResponseDescription(
                "Pictures, until the caller leaves.", media_type="multipart/x-mixed-replace"
            )
        },
        errors=(SessionNotFound,),
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/events",
        STREAMS,
        "Hear what happens",
        "Server-sent events: changes of sessions and processes, and log lines.",
        {200: ResponseDescription("Events, until the caller leaves.", media_type="text/event-stream")},
        stays_open=True,
    ),
)
