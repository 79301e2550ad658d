"""The W3C remote end at `/wd/hub`: New Session, Delete Session, and relaying of all other commands."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from drover.api.descriptions import Command, NewSession, w3c_command
from drover.api.session_answers import GrantedLease, IgnoredObject
from drover.api.session_requests import (
    LEASE_TOKEN,
    MAX_BODY_WITH_EXTENSIONS_BYTES,
    SessionRequest,
    check_size,
    request_of,
)
from drover.api.validation import validated
from drover.attach import driver_notes, file_commands, w3c
from drover.attach.end_commands import CDP_COMMANDS, closes_browser
from drover.attach.relay import CommandQueue
from drover.attach.router import Route
from drover.browser.capabilities.policy import CheckedCapabilities, Policy
from drover.core.deadline import REQUEST_S, ClientDisconnected, Deadline
from drover.core.errors import (
    DroverError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    SessionNotFound,
    StorageUnavailable,
)
from drover.net.addresses import Addresses
from drover.net.asgi import (
    Receive,
    Response,
    Scope,
    Send,
    caller_left,
    header,
    on_thread,
    read_body,
    send_answer,
)
from drover.net.request_threads import RequestThreads
from drover.sessions.pool.acquire_request import Acquired
from drover.sessions.pool.driver_access import DriverAccess
from drover.storage.session_files import MAX_UPLOAD_BODY_BYTES
from session_manager import SessionManager

MAX_COMMAND_BYTES = 64 * 1024 * 1024
"""Maximum body of a command, which may hold a script, typed text or a file in base64."""
FORGET_FROM = 16
"""Number of sessions from which on those that have ended are forgotten."""
_METHODS = ("GET", "POST", "DELETE")
COMMAND = re.compile(r"/wd/hub/session/(?P<session_id>[^/]+)(?P<command>/.*[^/])/?")
BEGUN = "drover.begun"
"""The key in a scope of what `DirectCommands` has begun of its request, a `Begun`."""


DESCRIPTIONS = (
    w3c_command(
        "get",
        "/wd/hub/sessions",
        "List sessions with their capabilities",
        "Not in the standard; answered as ChromeDriver does: a list of `id` and `capabilities`.",
    ),
    w3c_command("get", "/wd/hub/status", "Check whether sessions can be created", "W3C Status."),
    w3c_command(
        "post",
        "/wd/hub/session",
        "Create a session over WebDriver",
        "W3C New Session. The returned id is that of the managed session. With `webSocketUrl: true` the "
        "response contains a BiDi address on this port. `drover:ignored` lists capabilities that were set "
        "aside.",
        NewSession,
    ),
    w3c_command(
        "delete",
        "/wd/hub/session/{session_id}",
        "Close a session over WebDriver",
        "W3C Delete Session; the same as `DELETE /sessions/{session_id}`. It succeeds as well if the session "
        "is already closed, as at ChromeDriver.",
    ),
    *(
        w3c_command(
            method,
            "/wd/hub/session/{session_id}/{command}",
            f"Run a WebDriver command ({method.upper()})",
            "Relays the command to the session's ChromeDriver. A dead session is recovered first; its id "
            "stays the same. `se/file` accepts uploads, `se/files` returns downloads.",
            Command if method == "post" else None,
        )
        for method in ("get", "post", "delete")
    ),
)


class WebDriver:
    """The W3C remote end.

    Args:
        watch_s: Seconds between health checks of a session while a command has no response.
        observe: Called with the seconds that each relayed command took, including ChromeDriver's time.

    Attributes:
        queues: The commands of each session that has had one, by its id.
    """

    def __init__(
        self,
        manager: SessionManager,
        driver_access: DriverAccess,
        threads: RequestThreads,
        *,
        port: int,
        policy: Policy,
        watch_s: float,
        observe: Callable[[float], None],
    ) -> None:
        self._manager = manager
        self._driver_access = driver_access
        self._threads = threads
        self._port = port
        self._policy = policy
        self._watch_s = watch_s
        self._observe = observe
        self.queues: dict[str, CommandQueue] = {}
        self._forget_at = FORGET_FROM

    def routes(self) -> list[Route]:
        """Return the routes; every path below `/wd/hub` gets a W3C response, even an unknown one."""

        def route(pattern: str, handler: Callable[..., Awaitable[None]], *methods: str) -> Route:
            return Route("http", re.compile(pattern), handler, frozenset(methods), failure=w3c.failure)

        return [
            Route("http", COMMAND, self._command, frozenset(_METHODS), failure=w3c.failure),
            route(r"/wd/hub/session/(?P<session_id>[^/]+)/?", self._end, "DELETE"),
            Route(
                "http",
                re.compile("/wd/hub/session/?"),
                self._new_session,
                frozenset({"POST"}),
                failure=w3c.creation_failure,
            ),
            route("/wd/hub/status/?", self._status, "GET"),
            route("/wd/hub/sessions/?", self._sessions, "GET"),
            route("/wd/hub(?:/.*)?", self._unknown),
        ]

    async def _command(
        self, scope: Scope, receive: Receive, send: Send, session_id: str, command: str
    ) -> None:
        if scope["query_string"]:
            # To ChromeDriver the query is a part of the path, and so every such command is unknown.
            raise NotFound(f"Unknown command {scope['method']} {scope['path']} with a query; send it without")
        is_file = command in file_commands.COMMANDS
        body = await read_body(receive, MAX_UPLOAD_BODY_BYTES if is_file else MAX_COMMAND_BYTES)
        if is_file:
            await send_answer(send, await self._file(session_id, scope["method"], command, body))
            return
        if scope["method"] == "POST" and closes_browser(command, body):
            await self._close(session_id, self._threads.ending)
            await send_answer(send, w3c.value(CDP_COMMANDS[command]))
            return
        queue, direct = self._queue(session_id), scope.get(BEGUN)
        begun_at = time.monotonic() if direct is None else direct.begun_at
        if (scope["method"], command) == ("DELETE", "/window"):
            await self._save_before_last_window(session_id)
        gone: Future[None] = Future()
        # A disconnect matters only while the command waits; always watching for it costs 30 us per command.
        watch = asyncio.create_task(caller_left(receive, gone)) if queue.is_busy else None
        try:
            answer = await (
                queue.command(scope["method"], command, body, gone)
                if direct is None
                else queue.finish(direct, scope["method"], command, body)
            )
        except SessionNotFound:
            self._forget(session_id)
            raise
        finally:
            if watch is not None:
                watch.cancel()
        if answer.status == HTTPStatus.OK:
            await self._note(session_id, scope["method"], command, body, answer)
        await send_answer(send, answer)
        self._observe(time.monotonic() - begun_at)

    async def _save_before_last_window(self, session_id: str) -> None:
        """Save a session that ends if this is its last window: ChromeDriver then ends the browser at once."""
        session = self._driver_access.session(session_id)
        if session.ends_with_last_window and session.key is not None:
            await on_thread(self._threads.ending, partial(self._manager.save, session_id))

    async def _file(self, session_id: str, method: str, command: str, body: bytes) -> Response:
        session = self._driver_access.session(session_id)
        call = partial(file_commands.answer, session.folder, method, command, body)
        with self._driver_access.use(session):
            try:
                return await on_thread(self._threads.waiting, call)
            except StorageUnavailable as error:
                return w3c.unavailable(error)

    async def _note(self, session_id: str, method: str, command: str, body: bytes, answer: Response) -> None:
        """Record what a recovery must set again, and close a session with its last window."""
        if (method, command) == ("DELETE", "/window"):
            no_window_left = driver_notes.value_of(answer) == []
            if no_window_left and self._driver_access.session(session_id).ends_with_last_window:
                await self._close(session_id, self._threads.commands)
        # If the session has ended, or ends now, there is nothing to keep.
        with suppress(DroverError):
            await driver_notes.note(
                self._driver_access, session_id, (method, command, body), answer, self._asker(session_id)
            )

    def _asker(self, session_id: str) -> driver_notes.Ask:
        def ask(method: str, path: str, body: bytes) -> Awaitable[Response]:
            return self._queue(session_id).command(method, path, body, Future())

        return ask

    async def _end(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        await read_body(receive, MAX_COMMAND_BYTES)
        # Clients close the last window and then quit, or quit twice: ChromeDriver accepts that as well.
        with suppress(SessionNotFound):
            await self._close(session_id, self._threads.ending)
        await send_answer(send, w3c.value(None))

    async def _close(self, session_id: str, threads: Executor) -> None:
        await on_thread(threads, partial(self._manager.close, session_id, Deadline(REQUEST_S), keep=True))
        self._forget(session_id)

    async def _new_session(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, MAX_BODY_WITH_EXTENSIONS_BYTES)
        check_size(body)
        content = await on_thread(self._threads.waiting, partial(w3c.read_object, body))
        if "capabilities" not in content:
            only_old = (
                " (desiredCapabilities alone belong to the JSON wire protocol, which Drover does not speak)"
            )
            raise InvalidRequest(
                f'The body has no "capabilities"{only_old if "desiredCapabilities" in content else ""}. '
                'Send {"capabilities": {}} for the defaults.'
            )
        checked, options = await on_thread(
            self._threads.waiting, partial(w3c.match, content["capabilities"], self._policy)
        )
        gone: Future[None] = Future()
        watch = asyncio.create_task(caller_left(receive, gone))
        try:
            acquired = await self._acquire(
                checked, options, header(scope, LEASE_TOKEN.lower().encode()), gone
            )
        finally:
            watch.cancel()
        if not acquired.created:
            await self._enter_window(acquired.session.session_id)
        addresses = Addresses.of_request(scope, self._port)
        await send_answer(send, w3c.value(_new_session(acquired, addresses)))

    async def _enter_window(self, session_id: str) -> None:
        """Choose a window for a new client of a session whose client before has closed the current one."""
        if self._queue(session_id).is_busy:
            return  # The client before still uses it.
        ask = self._asker(session_id)
        with suppress(DroverError):
            if driver_notes.value_of(await ask("GET", "/window", b"")) is not None:
                return
            handles = driver_notes.value_of(await ask("GET", "/window/handles", b""))
            if isinstance(handles, list) and handles:
                body = json.dumps({"handle": handles[0]}).encode()
                answer = await ask("POST", "/window", body)
                if answer.status == HTTPStatus.OK:
                    await self._note(session_id, "POST", "/window", body, answer)

    async def _acquire(
        self,
        checked: CheckedCapabilities,
        options: Mapping[str, object],
        token: str | None,
        gone: Future[None],
    ) -> Acquired:
        wanted = validated(SessionRequest, options, f"field of {w3c.OPTIONS}", strict=True)
        request = request_of(wanted, checked, token, ends_with_last_window=True)
        acquired = await on_thread(
            self._threads.waiting, partial(self._manager.acquire, request, Deadline(REQUEST_S, gone))
        )
        if gone.done():
            # The client disconnected after the session was acquired and before it got the response.
            await on_thread(self._threads.commands, partial(self._manager.hand_back, acquired, request))
            raise ClientDisconnected
        return acquired

    async def _status(self, scope: Scope, receive: Receive, send: Send) -> None:
        draining = "the service is draining" if self._manager.draining else None
        reason = self._manager.unavailable or draining
        message = f"Drover cannot start sessions: {reason}" if reason else "Drover is ready for new sessions"
        await send_answer(send, w3c.value({"ready": not reason, "message": message}))

    async def _sessions(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = self._driver_access.sessions()
        listed = [
            {"id": one.session_id, "capabilities": dict(one.running.granted)} for one in known if one.running
        ]
        await send_answer(send, w3c.value(listed))

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _METHODS:
            raise MethodNotAllowed(f"{scope['method']} is not allowed here. Use {', '.join(_METHODS)}.")
        raise NotFound(f"Unknown command {scope['method']} {scope['path']}; see the list in the W3C standard")

    def _queue(self, session_id: str) -> CommandQueue:
        queue = self.queues.get(session_id)
        if queue is None:
            self._driver_access.session(session_id)
            if len(self.queues) >= self._forget_at:
                self._forget_ended()
            queue = self.queues[session_id] = CommandQueue(
                session_id, self._manager, self._driver_access, self._threads.commands, self._watch_s
            )
        return queue

    def _forget_ended(self) -> None:
        """Forget the sessions that have ended otherwise than over WebDriver; seldom, as it looks at all."""
        for gone in [known for known in self.queues if not self._driver_access.knows(known)]:
            self._forget(gone)
        self._forget_at = 2 * len(self.queues) + FORGET_FROM

    def _forget(self, session_id: str) -> None:
        queue = self.queues.pop(session_id, None)
        if queue is not None:
            queue.close()


def _new_session(acquired: Acquired, addresses: Addresses) -> dict[str, Any]:
    session = acquired.session
    capabilities = dict(session.running.granted) if session.running else {}
    capabilities.pop("webSocketUrl", None)
    capabilities["se:cdp"] = addresses.cdp(session.session_id)
    capabilities["se:cdpVersion"] = capabilities.get("browserVersion")
    capabilities["se:downloadsEnabled"] = True
    if session.socket_secret is not None:
        # A node of Selenium Grid connects to this address, and sends no token (docs/grid.md).
        capabilities["se:forwardCdp"] = addresses.forwarded_cdp(session.socket_secret)
        if session.running and session.running.bidi_url:
            capabilities["webSocketUrl"] = addresses.bidi(session.socket_secret)
    if acquired.lease is not None:
        capabilities["drover:lease"] = GrantedLease.filled(acquired.lease).json_object()
    if session.capabilities.ignored:
        capabilities["drover:ignored"] = [
            IgnoredObject.filled(one).json_object() for one in session.capabilities.ignored
        ]
    return {"sessionId": session.session_id, "capabilities": capabilities}
