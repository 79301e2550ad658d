"""The outermost ASGI application: gives every request its id, and logs every request at level debug."""

from __future__ import annotations

import logging
import random
import re
import time
from dataclasses import dataclass

from drover.core.events import RequestAnswered
from drover.core.log_context import RequestContext, asked_by
from drover.core.logs import log_event
from drover.net.access import is_open
from drover.net.asgi import Application, Message, Receive, Scope, Send, header

REQUEST_ID = "X-Request-ID"
RAW_REQUEST_ID = REQUEST_ID.lower().encode()
CLIENT_CLOSED_REQUEST = 499
MAX_PATH = 256

_logger = logging.getLogger("drover")
# Nothing that could be taken for a part of the log line around it.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
# The addresses of BiDi and of `se:forwardCdp` are credentials.
_SECRET = re.compile(r"(?P<way>/(?:bidi|cdp)/).+")
_STATUS_OF = {"websocket.accept": 101, "websocket.close": 403}


def request_id_of(scope: Scope) -> str:
    """Return the id of a request: the client's own if it has sent a sane one."""
    sent_id = header(scope, RAW_REQUEST_ID) or ""
    return sent_id if _SANE.fullmatch(sent_id) else new_request_id()


def new_request_id() -> str:
    """Return an id for a request whose client has not sent one."""
    return f"{random.getrandbits(64):016x}"


@dataclass(eq=False, repr=False)
class RequestLog:
    """ASGI application that adds `X-Request-ID` to the response of another one, and logs the request."""

    _application: Application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        request_id = request_id_of(scope)
        request = _context_of(scope, request_id)
        begun, raw_id = time.monotonic(), request_id.encode()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind.endswith("response.start") or kind == "websocket.accept":
                message = {**message, "headers": [*message.get("headers", ()), (RAW_REQUEST_ID, raw_id)]}
            if not status:
                status = message.get("status") or _STATUS_OF.get(kind, 0)
                if status:
                    _log(scope, status, begun)
            await send(message)

        with asked_by(request):
            await self._application(scope, receive, send_with_id)
            if not status:
                _log(scope, CLIENT_CLOSED_REQUEST, begun)


def log_direct(scope: Scope, request_id: str, status: int, begun: float) -> None:
    """Log a response that was given without the application; see `log_answer`."""
    if _logger.isEnabledFor(logging.DEBUG):
        with asked_by(_context_of(scope, request_id)):
            _log(scope, status, begun)


def _context_of(scope: Scope, request_id: str) -> RequestContext:
    client = scope.get("client")
    return RequestContext(request_id, f"{client[0]}:{client[1]}" if client else "unknown")


def _log(scope: Scope, status: int, begun: float) -> None:
    path = _SECRET.sub(r"\g<way>…", scope["path"]) if is_open(scope["path"]) else scope["path"]
    shown = path if len(path) <= MAX_PATH else path[:MAX_PATH] + "…"
    log_answer(scope.get("method", "GET"), shown, status, begun)


def log_answer(method: str, path: str, status: int, begun: float) -> None:
    """Log a response at level debug; `begun` is the time of the request on the monotonic clock."""
    if _logger.isEnabledFor(logging.DEBUG):
        log_event(RequestAnswered(method, path, status, round(1000 * (time.monotonic() - begun))))
