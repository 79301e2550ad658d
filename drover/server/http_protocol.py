"""uvicorn's protocols with what they lack: limits, and an answer to every handshake.

uvicorn closes an idle connection after 5 s, which cuts off one command in a hundred of a client that polls
every 5 s; it has no timer for a head that never comes; and its `limit_concurrency` counts idle connections,
and refuses requests on others that are open (measured).

h11's patterns of a field and of the line before a chunk can divide white space between two of their parts.
Where such a line does not match, they try each division: 60,000 spaces in the head of one request, which
needs no token, keep the event loop busy for a minute (h11 0.16).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import h11
from h11 import _readers
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request

from drover.attach.direct_commands import DirectCommands
from drover.attach.relay import Begun
from drover.attach.webdriver import BEGUN
from drover.core.errors import DroverError, InvalidRequest, Overloaded
from drover.core.log_context import RequestContext, asked_by
from drover.net.asgi import (
    Application,
    Receive,
    Response,
    Scope,
    Send,
    failure_answer,
    failure_body,
    send_answer,
    with_target,
)
from drover.net.request_log import (
    REQUEST_ID,
    RequestLog,
    log_answer,
    log_direct,
    new_request_id,
    request_id_of,
)
from drover.server.connections import Admission, ConnectionTable, is_reserved
from drover.server.plain_requests import PlainCycle, PlainRequest, read_plain

HEAD_S = 20.0
"""Seconds that a client has for the head of a request, from the connection or from its first byte."""
IDLE_S = 600
"""Seconds that a connection stays open after a complete answer."""
_TOO_MANY = Overloaded("Too many connections are open. Close some, or retry later.")
_WHITE_SPACE = rb"[ \t]*"
_WHOLE_WHITE_SPACE = rb"(?<![ \t])[ \t]*"


def match_in_linear_time() -> None:
    """Replace h11's two patterns by those that match the same and take white space as a whole."""
    _readers.header_field_re = _linear(_readers.header_field_re)
    _readers.chunk_header_re = _linear(_readers.chunk_header_re)


@lru_cache(maxsize=1)
def date_headers(second: int) -> list[tuple[bytes, bytes]]:
    """Return the `Date` header of responses to requests in a second since 1970.

    uvicorn wakes up ten times a second for it, which takes a third of the processor time of an idle service.
    """
    return [(b"date", formatdate(second, usegmt=True).encode())]


class HttpProtocol(H11Protocol):
    """One connection of a client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        table: ConnectionTable[HttpProtocol],
        direct_commands: DirectCommands | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._table = table
        self._direct_commands = direct_commands
        self._head_timer: asyncio.TimerHandle | None = None
        self._reserved_only = False
        self._plain: PlainCycle | None = None
        self._is_h11_used = False
        self._held = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Admit the connection, if need be in the place of another one."""
        admission, victim = self._table.admit(self, len(self.connections))
        super().connection_made(transport)
        if victim is not None:
            victim.transport.abort()
        if admission is Admission.REFUSED:
            refuse(self.transport, self.client, _TOO_MANY)
            return
        if admission is Admission.RESERVED_ROUTES_ONLY:
            self._reserved_only = True
            self.app = cast("Any", _reserved_routes_only(cast("Application", self.app)))
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._table.remove(self)
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Begin or continue a request; a plain one is read here, every other one by h11."""
        self.server_state.default_headers = date_headers(int(time.time()))
        if self._plain is not None:
            data = self._plain.take(data)
            if not self._plain.is_over:
                self._hold(data)
                return
            self._end_plain()
        if not data:
            return
        is_between_requests = not self._is_h11_used or (
            self.conn.their_state is h11.IDLE
            and self.conn.our_state is h11.IDLE
            and not self.conn.trailing_data[0]
        )
        request = read_plain(data) if is_between_requests else None
        if request is None:
            self._is_h11_used = True
            super().data_received(data)
        else:
            self._begin_plain(request, data[request.head_bytes :])

    def handle_events(self) -> None:
        """Handle what has been received, and time a head that is not complete."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._stop_head_timer()
            self._table.busy(self)
        elif self.conn.trailing_data[0]:
            self._start_head_timer()
        else:
            # The rest of a body has come that nothing has read.
            self._table.idle(self)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection to a WebSocket; that has no time limit."""
        self._stop_head_timer()
        self._table.remove(self)
        if self._reserved_only:
            refuse(self.transport, self.client, _TOO_MANY)
        else:
            super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Keep the connection open for the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._plain is not None:
            if self._plain.is_over:
                self._end_plain()
                held, self._held = self._held, b""
                if held:
                    self.data_received(held)
        elif self.conn.their_state is h11.IDLE:
            self._table.idle(self)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP/1.1, in JSON as every other refusal."""
        refuse(
            self.transport,
            self.client,
            InvalidRequest(f"{msg} Send HTTP/1.1 with a valid head of at most 64 KiB."),
        )

    def _begin_plain(self, request: PlainRequest, rest: bytes) -> None:
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self._table.busy(self)
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "method": request.method,
            "root_path": "",
            "path": unquote(request.path.decode("ascii")),
            "raw_path": request.path,
            "query_string": b"",
            "headers": list(request.headers),
            "state": self.app_state.copy(),
        }
        self.cycle = self._plain = cycle = PlainCycle(
            request.length,
            scope=self.scope,
            conn=self.conn,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            on_response=self.on_response_complete,
        )
        self._hold(cycle.take(rest))
        if not self._begins_direct(cycle):
            self._run(cycle)

    def _begins_direct(self, cycle: PlainCycle) -> bool:
        """Begin a direct command; return whether the request is one."""
        is_possible = cycle.is_received and not self._reserved_only and not self.flow.write_paused
        if self._direct_commands is None or not is_possible:
            return False
        scope, begun_at = cast("Scope", cycle.scope), time.monotonic()

        def done(response: Response | None, begun: Begun | None) -> None:
            if response is not None:
                request_id = request_id_of(scope)
                cycle.answer(response, request_id)
                log_direct(scope, request_id, response.status, begun_at)
                return
            scope[BEGUN] = begun
            task = self._run(cycle)
            if begun is not None:
                # The application ends what was begun, unless it does not get that far.
                task.add_done_callback(lambda _: begun.end())

        return self._direct_commands.begin(scope, bytes(cycle.body), lambda: cycle.disconnected, done)

    def _run(self, cycle: PlainCycle) -> asyncio.Task[None]:
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        return task

    def _hold(self, data: bytes) -> None:
        """Keep what a client has sent before it has the answer to its last request."""
        if data:
            self._held += data
            self.flow.pause_reading()

    def _end_plain(self) -> None:
        self._plain = None
        self._table.idle(self)

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_took_too_long)

    def _stop_head_timer(self) -> None:
        timer, self._head_timer = self._head_timer, None
        if timer is not None:
            timer.cancel()

    def _head_took_too_long(self) -> None:
        self._head_timer = None
        self.transport.close()


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which refuses some handshakes with plain text, and others not at all.

    h11 reads what websockets cannot read: a body, control characters, 200 headers, a line of 20 KiB.
    """

    def data_received(self, data: bytes) -> None:
        """Receive data; refuse a malformed handshake, and end a connection that does not await its answer."""
        if self.handshake_initiated and not self.handshake_complete:
            # uvicorn fails if it has to answer a frame here.
            self.transport.close()
            return
        super().data_received(data)
        error = self.conn.handshake_exc
        if error is not None and not self.transport.is_closing():
            reason = error.__cause__ or error
            refuse(
                self.transport, self.client, InvalidRequest(f"The WebSocket handshake is invalid: {reason}")
            )

    def handle_connect(self, event: Request) -> None:
        """Begin a handshake that is valid."""
        if self.conn.accept(event).status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            super().handle_connect(event)

    def shutdown(self) -> None:
        """Close the socket; a handshake is left to the router, which answers it before the server ends.

        uvicorn answers it with 500, although the service knows better.
        """
        if self.handshake_complete or self.close_sent:
            super().shutdown()


def refuse(transport: asyncio.Transport, client: tuple[str, int] | None, error: DroverError) -> None:
    """Answer with an error, and close the connection."""
    host, port, *_ = client or ("unknown", 0)
    request = RequestContext(new_request_id(), f"{host}:{port}")
    with asked_by(request):
        body = json.dumps(failure_body(error)).encode()
        log_answer("-", "-", error.status, time.monotonic())
    status = HTTPStatus(error.status)
    retry = f"Retry-After: {error.retry_after_s}\r\n" if error.retry_after_s else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{retry}{REQUEST_ID}: {request.request_id}\r\n"
        "Connection: close\r\n\r\n"
    )
    transport.write(head.encode("ascii") + body)
    transport.close()


def _linear(pattern: re.Pattern[bytes]) -> re.Pattern[bytes]:
    if _WHOLE_WHITE_SPACE in pattern.pattern:
        return pattern
    return re.compile(pattern.pattern.replace(_WHITE_SPACE, _WHOLE_WHITE_SPACE))


def _reserved_routes_only(application: Application) -> Application:
    async def refuse_others(scope: Scope, receive: Receive, send: Send) -> None:
        read, _ = with_target(scope)
        if is_reserved(read["method"], read["path"]):
            await application(read, receive, send)
        else:
            await RequestLog(_refuse_connection)(scope, receive, send)

    return refuse_others


async def _refuse_connection(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send_answer(send, failure_answer(_TOO_MANY))
