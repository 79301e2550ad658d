"""Asks `security` at the door of every REST route."""

from __future__ import annotations

from flask import request

from drover.net import access
from drover.web.services import services


def admit_request() -> None:
    """Let the current request in, or raise what refuses it."""
    headers = request.headers
    caller = access.RequestOrigin(
        method=request.method,
        path=request.path,
        host=headers.get("Host"),
        origin=headers.get("Origin"),
        sec_fetch_site=headers.get("Sec-Fetch-Site"),
        authorization=headers.get("Authorization"),
        content_type=headers.get("Content-Type"),
        has_body=bool(request.content_length),
    )
    access.authorize(caller, services().policy)
