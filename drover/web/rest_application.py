"""Flask as an ASGI application: each request runs on a thread of the pool for what it may wait for.

A response is sent when it is complete, by the event loop: no thread waits for a client that reads slowly, and
none is left behind when the event loop has ended. What stays open is not served by Flask.
"""

from __future__ import annotations

import io
import re
import sys
from enum import Enum
from functools import partial
from typing import Any

from flask import Flask

from drover.api.session_requests import MAX_BODY_WITH_EXTENSIONS_BYTES
from drover.core.errors import DroverError
from drover.net.asgi import Receive, Response, Scope, Send, failure_answer, on_thread, read_body, send_answer
from drover.net.request_threads import RequestThreads

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_CHECKED = re.compile(r"/sessions/[^/]+(/screenshot)?|/keys(/.+/state)?")
_ENDS = frozenset({"/cleanup_orphaned_processes", "/emergency_recovery", "/drain"})
_WITHOUT_PREFIX = {b"content-length": "CONTENT_LENGTH", b"content-type": "CONTENT_TYPE"}

Environ = dict[str, Any]


class Waits(Enum):
    """What a request may wait for."""

    FOR_A_SESSION = "a session"
    FOR_AN_END = "an end"
    FOR_NOTHING = "nothing"


def waits(method: str, path: str) -> Waits:
    """Return what a request may wait for."""
    path = path.rstrip("/")
    if method in _READS:
        return Waits.FOR_A_SESSION if _CHECKED.fullmatch(path) else Waits.FOR_NOTHING
    return Waits.FOR_AN_END if method == "DELETE" or path in _ENDS else Waits.FOR_A_SESSION


class RestApplication:
    """ASGI application that runs Flask on threads, and answers 503 if a request gets none.

    Args:
        flask: The Flask application.
        threads: The pools of threads.
    """

    def __init__(self, flask: Flask, threads: RequestThreads) -> None:
        self._flask = flask
        self._threads = {
            Waits.FOR_A_SESSION: threads.waiting,
            Waits.FOR_AN_END: threads.ending,
            Waits.FOR_NOTHING: threads.reading,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        environ = _environ(scope, await read_body(receive, MAX_BODY_WITH_EXTENSIONS_BYTES))
        threads = self._threads[waits(scope["method"], scope["path"])]
        try:
            answer = await on_thread(threads, partial(_call, self._flask, environ))
        except DroverError as error:
            # Flask answers its own errors: the pool has refused the request.
            await send_answer(send, failure_answer(error))
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})


def _call(flask: Flask, environ: Environ) -> Response:
    """Return Flask's response to a request."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:  # noqa: ANN401 - unused
        started.append((status, headers))

    parts: Any = flask(environ, start_response)
    try:
        body = b"".join(parts)
    finally:
        parts.close()
    status, headers = started[-1]
    raw = tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
    return Response(int(status.split()[0]), body, raw)


def _environ(scope: Scope, body: bytes) -> Environ:
    """Return the WSGI environment of a request (PEP 3333); the scope is in it for the request's deadline."""
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        # In its one form, not decoded as PEP 3333 has it: an escaped slash must not pass for a slash.
        "PATH_INFO": scope["path"],
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "asgi.scope": scope,
    }
    if scope.get("server"):
        environ["SERVER_NAME"], environ["SERVER_PORT"] = scope["server"][0], str(scope["server"][1])
    if scope.get("client"):
        environ["REMOTE_ADDR"] = scope["client"][0]
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            # In WSGI it would pass for the header with a hyphen.
            continue
        plain = f"HTTP_{raw_name.decode('latin-1').upper().replace('-', '_')}"
        name, value = _WITHOUT_PREFIX.get(raw_name, plain), raw_value.decode("latin-1")
        environ[name] = f"{environ[name]},{value}" if name in environ else value
    return environ
