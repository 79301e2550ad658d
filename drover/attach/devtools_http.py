"""Chrome's DevTools endpoints over HTTP, with addresses on this service's port."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from drover.api.descriptions import chromes_answer
from drover.attach.attaching import Attaching
from drover.attach.router import Route
from drover.browser.health import Probe, ProbeResult, probe
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable, ForbiddenOrigin, NotFound
from drover.net.addresses import Addresses
from drover.net.asgi import (
    Receive,
    Response,
    Scope,
    Send,
    header,
    json_answer,
    on_thread,
    read_body,
    send_answer,
)
from drover.net.loopback_http import Answer, send_request
from drover.sessions.pool.driver_access import DriverAccess
from drover.sessions.pool.session import SessionState

SESSION = r"/sessions/(?P<session_id>[^/]+)"
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""What Chrome may answer; the list of pages has their whole addresses."""
MAX_BODY_BYTES = 64 * 1024
_ACTION = "(?P<action>activate|close)"
TARGET = r"(?P<target_id>[A-Za-z0-9_-]+)"
# Characters of an address that `/json/new` takes as they are.
_SAFE = "%/:?#[]@!$&'()*+,;=~"
_CHANGES = frozenset({"GET", "PUT", "POST"})
_TEXT = ((b"content-type", b"text/html; charset=UTF-8"),)


_OWN_ADDRESSES = "Chrome's own response, with WebSocket addresses on this port."
DESCRIPTIONS = (
    chromes_answer(
        "get",
        "/sessions/{session_id}/json/version",
        "Get the browser's DevTools version, to connect over CDP",
        _OWN_ADDRESSES,
    ),
    chromes_answer(
        "get", "/sessions/{session_id}/json/list", "List the browser's DevTools targets", _OWN_ADDRESSES
    ),
    chromes_answer(
        "get",
        "/sessions/{session_id}/json/protocol",
        "Get the description of the browser's DevTools protocol",
        "Chrome's own response.",
    ),
    chromes_answer(
        "get",
        "/json/protocol",
        "Get the description of the DevTools protocol of any session's browser",
        "For clients that are given a WebSocket address and look for its protocol on the same port.",
        NotFound,
    ),
    chromes_answer(
        "put",
        "/sessions/{session_id}/json/new",
        "Open a page in the browser",
        f"The query is the address of the page: `/json/new?https://example.org/`. {_OWN_ADDRESSES}",
    ),
    *(
        chromes_answer(
            "put",
            f"/sessions/{{session_id}}/json/{action}/{{target_id}}",
            f"{action.capitalize()} a page of the browser",
            "Chrome's own response. DevTools clients send a GET, which is refused if a browser sends it.",
            NotFound,
            media_type="text/html",
        )
        for action in ("activate", "close")
    ),
)


@dataclass(eq=False, repr=False)
class DevToolsHttp:
    """Chrome's DevTools endpoints over HTTP.

    Args:
        probe_timeout: Seconds within which Chrome must answer.
    """

    _attaching: Attaching
    _driver_access: DriverAccess
    _executor: Executor
    _port: int
    _probe_timeout: float

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        json_path = f"{SESSION}/json"
        return [
            Route("http", re.compile(f"{json_path}/version/?"), self._version),
            Route("http", re.compile(f"{json_path}(?:/list)?/?"), self._list),
            Route("http", re.compile(f"{json_path}/protocol/?"), self._protocol),
            # Clients that are given a WebSocket address look for its protocol here.
            Route("http", re.compile("/json/protocol/?"), self._any_protocol),
            Route("http", re.compile(f"{json_path}/new/?"), self._new, frozenset({"PUT", "POST"})),
            Route("http", re.compile(f"{json_path}/{_ACTION}/{TARGET}/?"), self._change_target, _CHANGES),
        ]

    async def _version(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        _, running = await self._attaching.attachable(session_id)
        version = await self._ask(running, "/json/version")
        socket = self._addresses(scope).cdp(session_id)
        await send_answer(send, json_answer({**version, "webSocketDebuggerUrl": socket}))

    async def _list(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        _, running = await self._attaching.attachable(session_id)
        listed = await self._ask(running, "/json/list")
        await send_answer(send, json_answer([self._shown(scope, session_id, one) for one in listed]))

    async def _protocol(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        _, running = await self._attaching.attachable(session_id)
        await send_answer(send, json_answer(await self._ask(running, "/json/protocol")))

    async def _any_protocol(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the protocol of any session's browser; it is the same for all."""
        ready = [one for one in self._driver_access.sessions() if one.state is SessionState.READY]
        if not ready:
            raise NotFound("No session has a browser whose protocol could be shown. Create a session first.")
        await self._protocol(scope, receive, send, ready[0].session_id)

    async def _new(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        """Open a page; Chrome 111 and later accept PUT only, because any page can send a GET or a POST."""
        await read_body(receive, MAX_BODY_BYTES)
        url = quote(scope["query_string"], safe=_SAFE)
        answer = await self._change(session_id, "PUT", f"/json/new?{url}" if url else "/json/new")
        target = _json(answer)
        await send_answer(send, json_answer(self._shown(scope, session_id, target)))

    async def _change_target(
        self, scope: Scope, receive: Receive, send: Send, session_id: str, action: str, target_id: str
    ) -> None:
        """Activate or close a page. Clients send a GET, which changes nothing if a browser sends it."""
        if scope["method"] == "GET" and header(scope, b"sec-fetch-site") is not None:
            raise ForbiddenOrigin("A GET by a web page changes nothing here: send PUT or POST.")
        await read_body(receive, MAX_BODY_BYTES)
        answer = await self._change(session_id, "GET", f"/json/{action}/{target_id}")
        await send_answer(send, Response(HTTPStatus.OK, answer.body, _TEXT))

    async def _change(self, session_id: str, method: str, path: str) -> Answer:
        """Send a request to Chrome; the session is in use until it is answered."""
        session, running = await self._attaching.attachable(session_id)
        address = f"http://{running.debugger_address}"
        call = partial(send_request, method, address, path, self._probe_timeout, MAX_ANSWER_BYTES)
        with self._driver_access.use(session):
            try:
                answer = await on_thread(self._executor, call)
            except (OSError, ValueError) as error:
                raise BrowserUnavailable(f"Chrome did not answer {path} ({error}); retry") from error
        if answer.status != HTTPStatus.OK:
            raise NotFound(
                f"Chrome refused {path}: {answer.body[:200].decode('utf-8', 'replace').strip()}. "
                f"GET /sessions/{session_id}/json/list returns the current targets."
            )
        return answer

    async def _ask(self, running: RunningBrowser, path: str) -> Any:  # noqa: ANN401 - Chrome's JSON, as it is
        address = f"http://{running.debugger_address}"
        call = partial(probe, address, path, self._probe_timeout, MAX_ANSWER_BYTES)
        found: Probe = await on_thread(self._executor, call)
        if found.reply is not ProbeResult.ANSWERED:
            raise BrowserUnavailable(f"Chrome did not answer {path} ({found.error}); retry")
        return found.body

    def _shown(self, scope: Scope, session_id: str, target: Mapping[str, Any]) -> dict[str, Any]:
        """Return a target as a client sees it: with an address on our port, and without Chrome's own."""
        kept = {name: field for name, field in target.items() if name != "devtoolsFrontendUrl"}
        return {**kept, "webSocketDebuggerUrl": self._addresses(scope).page(session_id, target["id"])}

    def _addresses(self, scope: Scope) -> Addresses:
        return Addresses.of_request(scope, self._port)


def _json(answer: Answer) -> Mapping[str, Any]:
    try:
        target: Mapping[str, Any] = json.loads(answer.body)
    except ValueError as error:
        raise BrowserUnavailable(f"Chrome's answer is no JSON ({error}); retry") from error
    return target
