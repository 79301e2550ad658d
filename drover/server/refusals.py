"""Refusals of what no application has seen: JSON as in every other one, and the end of the connection."""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus

from drover.core.errors import DroverError
from drover.core.log_context import RequestContext, asked_by
from drover.net.asgi import failure_body
from drover.net.request_log import REQUEST_ID, log_answer, new_request_id


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
