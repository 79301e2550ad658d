"""The outermost ASGI application: gives every request its id, and logs every request at level debug."""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass

from drover.core.events import RequestAnswered
from drover.core.log_context import RequestContext, asked_by
from drover.core.logs import log_event
from drover.net.access import is_open
from drover.net.asgi import Application, Message, Receive, Scope, Send, header

REQUEST_ID = "X-Request-ID"
CLIENT_CLOSED_REQUEST = 499
MAX_PATH = 256

_logger = logging.getLogger("drover")
_RAW_NAME = REQUEST_ID.lower().encode()
# Nothing that could be taken for a part of the log line around it.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
# The addresses of BiDi and of `se:forwardCdp` are credentials.
_SECRET = re.compile(r"(?P<way>/(?:bidi|cdp)/).+")
_STATUS_OF = {"websocket.accept": 101, "websocket.close": 403}


def new_request_id() -> str:
    """Return an id for a request whose client has not sent one."""
    return os.urandom(8).hex()


@dataclass(eq=False, repr=False)
class RequestLog:
    """ASGI application that adds `X-Request-ID` to the response of another one, and logs the request.

    The id is the client's own if it sent a sane one.

    Args:
        application: Answers the requests.
    """

    _application: Application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        sent_id = header(scope, _RAW_NAME) or ""
        request_id = sent_id if _SANE.fullmatch(sent_id) else new_request_id()
        client = scope.get("client")
        request = RequestContext(request_id, f"{client[0]}:{client[1]}" if client else "unknown")
        begun, raw_id = time.monotonic(), request_id.encode()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind.endswith("response.start") or kind == "websocket.accept":
                message = {**message, "headers": [*message.get("headers", ()), (_RAW_NAME, raw_id)]}
            if not status:
                status = message.get("status") or _STATUS_OF.get(kind, 0)
                if status:
                    _log(scope, status, begun)
            await send(message)

        with asked_by(request):
            await self._application(scope, receive, send_with_id)
            if not status:
                _log(scope, CLIENT_CLOSED_REQUEST, begun)


def _log(scope: Scope, status: int, begun: float) -> None:
    path = _SECRET.sub(r"\g<way>…", scope["path"]) if is_open(scope["path"]) else scope["path"]
    shown = path if len(path) <= MAX_PATH else path[:MAX_PATH] + "…"
    log_answer(scope.get("method", "GET"), shown, status, begun)


def log_answer(method: str, path: str, status: int, begun: float) -> None:
    """Log a response at level debug; `begun` is the time of the request on the monotonic clock."""
    if _logger.isEnabledFor(logging.DEBUG):
        log_event(RequestAnswered(method, path, status, round(1000 * (time.monotonic() - begun))))
