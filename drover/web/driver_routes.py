"""Descriptions of the routes outside of the REST API: driver endpoints and streams."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from drover.api.answers import W3cAnswer
from drover.api.validation import Strict
from drover.api.view_messages import ViewQuery
from drover.core.errors import (
    BrowserUnavailable,
    NotFound,
    RecoveryFailed,
    SessionNotFound,
    ShuttingDown,
    StorageUnavailable,
)
from drover.web.route_descriptions import ResponseDescription, RouteDescription

ATTACH, STREAMS = "Attach", "Streams"
_UNAVAILABLE = (SessionNotFound, BrowserUnavailable, RecoveryFailed, ShuttingDown, StorageUnavailable)
_W3C = "Errors have the form and status of the W3C WebDriver specification."


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


def _w3c(
    method: str, path: str, summary: str, description: str, body: type[Strict] | None = None
) -> RouteDescription:
    replies = {200: ResponseDescription(f"The result of the command. {_W3C}", (W3cAnswer,))}
    short = {"url": "https://example.org/"} if body is Command else None
    return RouteDescription(
        method, path, ATTACH, summary, description, replies, body=body, short=short, speaks_w3c=True
    )


DRIVER_ROUTES = (
    _w3c(
        "get",
        "/wd/hub/sessions",
        "List sessions with their capabilities",
        "Not in the standard; answered as ChromeDriver does: a list of `id` and `capabilities`.",
    ),
    _w3c("get", "/wd/hub/status", "Check whether sessions can be created", "W3C Status."),
    _w3c(
        "post",
        "/wd/hub/session",
        "Create a session over WebDriver",
        "W3C New Session. The returned id is that of the managed session. With `webSocketUrl: true` the "
        "response contains a BiDi address on this port. `drover:ignored` lists capabilities that were set "
        "aside.",
        NewSession,
    ),
    _w3c(
        "delete",
        "/wd/hub/session/{session_id}",
        "Close a session over WebDriver",
        "W3C Delete Session; the same as `DELETE /sessions/{session_id}`. It succeeds as well if the session "
        "is already closed, as at ChromeDriver.",
    ),
    *(
        _w3c(
            method,
            "/wd/hub/session/{session_id}/{command}",
            f"Run a WebDriver command ({method.upper()})",
            "Relays the command to the session's ChromeDriver. A dead session is recovered first; its id "
            "stays the same. `se/file` accepts uploads, `se/files` returns downloads.",
            Command if method == "post" else None,
        )
        for method in ("get", "post", "delete")
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/json/version",
        ATTACH,
        "Get the browser's DevTools version, to connect over CDP",
        "Chrome's own response, with a WebSocket address on this port.",
        {200: ResponseDescription("Chrome's response.", media_type="application/json")},
        errors=_UNAVAILABLE,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/json/list",
        ATTACH,
        "List the browser's DevTools targets",
        "Chrome's own response, with WebSocket addresses on this port.",
        {200: ResponseDescription("Chrome's response.", media_type="application/json")},
        errors=_UNAVAILABLE,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/json/protocol",
        ATTACH,
        "Get the description of the browser's DevTools protocol",
        "Chrome's own response.",
        {200: ResponseDescription("Chrome's response.", media_type="application/json")},
        errors=_UNAVAILABLE,
    ),
    RouteDescription(
        "get",
        "/json/protocol",
        ATTACH,
        "Get the description of the DevTools protocol of any session's browser",
        "For clients that are given a WebSocket address and look for its protocol on the same port.",
        {200: ResponseDescription("Chrome's response.", media_type="application/json")},
        errors=(*_UNAVAILABLE, NotFound),
    ),
    RouteDescription(
        "put",
        "/sessions/{session_id}/json/new",
        ATTACH,
        "Open a page in the browser",
        "The query is the address of the page: `/json/new?https://example.org/`. Chrome's own response, with "
        "a WebSocket address on this port.",
        {200: ResponseDescription("Chrome's response.", media_type="application/json")},
        errors=_UNAVAILABLE,
    ),
    *(
        RouteDescription(
            "put",
            f"/sessions/{{session_id}}/json/{action}/{{target_id}}",
            ATTACH,
            f"{action.capitalize()} a page of the browser",
            "Chrome's own response. DevTools clients send a GET, which is refused if a browser sends it.",
            {200: ResponseDescription("Chrome's response.", media_type="text/html")},
            errors=(*_UNAVAILABLE, NotFound),
        )
        for action in ("activate", "close")
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/cdp",
        ATTACH,
        "Connect to the browser over CDP",
        "A WebSocket for Playwright's `connect_over_cdp` and Puppeteer's `connect`. The session is in use "
        "while it is open.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=_UNAVAILABLE,
        query=SocketQuery,
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/devtools/page/{target_id}",
        ATTACH,
        "Connect to one page over CDP",
        "A WebSocket; `/sessions/{session_id}/json/list` returns the page ids.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=_UNAVAILABLE,
        query=SocketQuery,
        stays_open=True,
    ),
    *(
        RouteDescription(
            "get",
            path,
            ATTACH,
            f"Connect to {what} of any session over CDP",
            "A WebSocket, for clients that derive Chrome's own addresses from another one.",
            {101: ResponseDescription("The WebSocket is open.")},
            errors=_UNAVAILABLE,
            query=SocketQuery,
            stays_open=True,
        )
        for path, what in (
            ("/devtools/page/{target_id}", "a page"),
            ("/devtools/browser/{guid}", "a browser"),
        )
    ),
    RouteDescription(
        "get",
        "/cdp/{secret}",
        ATTACH,
        "Connect to the browser over CDP without a token",
        "A WebSocket at the address that New Session returned as `se:forwardCdp`: a node of Selenium Grid "
        "leads its clients' CDP through it. The address is the credential, so no token is needed.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=_UNAVAILABLE,
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/bidi/{secret}",
        ATTACH,
        "Connect to a session over BiDi",
        "A WebSocket at the address that New Session returned for `webSocketUrl: true`. The address is the "
        "credential, so no token is needed.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=_UNAVAILABLE,
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/live",
        STREAMS,
        "View a session live",
        "JPEG frames of the page in the foreground, as a stream that an `<img>` shows. Viewing does not "
        "count as activity and never triggers recovery.",
        {
            200: ResponseDescription(
                "Frames until the client disconnects.", media_type="multipart/x-mixed-replace"
            )
        },
        errors=(SessionNotFound,),
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/view",
        STREAMS,
        "See and use a session by hand",
        "A WebSocket: JPEG frames of the page in the foreground as binary messages, and the page's address, "
        "dialogs and who is in control as JSON; the client sends mouse, keys, text and navigation. Watching "
        "does not count as activity; a client that has sent input within a minute makes the session in use.",
        {101: ResponseDescription("The WebSocket is open.")},
        errors=(SessionNotFound,),
        query=ViewQuery,
        stays_open=True,
    ),
    RouteDescription(
        "get",
        "/events",
        STREAMS,
        "Receive events",
        "Server-sent events: changes of sessions and processes, and log lines.",
        {200: ResponseDescription("Events until the client disconnects.", media_type="text/event-stream")},
        stays_open=True,
    ),
)
