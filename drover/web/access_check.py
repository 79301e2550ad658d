"""The access check before every REST route."""

from __future__ import annotations

from flask import request

from drover.net import access
from drover.web.services import services


def admit_request() -> None:
    """Check that the current request is allowed.

    Raises:
        DroverError: The request is refused; `access.authorize` lists the reasons.
    """
    headers = request.headers
    origin = access.RequestOrigin(
        method=request.method,
        path=request.path,
        host=headers.get("Host"),
        origin=headers.get("Origin"),
        sec_fetch_site=headers.get("Sec-Fetch-Site"),
        authorization=headers.get("Authorization"),
        content_type=headers.get("Content-Type"),
        has_body=bool(request.content_length),
    )
    access.authorize(origin, services().policy)
