"""Keep out of uvicorn's log what any client may do, and tracebacks of requests that a stop has cut off."""

from __future__ import annotations

import asyncio
import logging

_LOGGER = "uvicorn.error"
_NOT_COMPLETED = "ASGI callable returned without completing handshake."
_OTHER_PROTOCOL = "Unsupported upgrade request."
"""Java's client, and so each request of a Selenium Grid's node, offers HTTP/2; HTTP/1.1 goes on."""
_NO_HTTP = "Invalid HTTP request received."
_NO_TEXT = "Invalid UTF-8 sequence received from client."
_MAY_BE_DONE = frozenset({_NOT_COMPLETED, _OTHER_PROTOCOL, _NO_HTTP, _NO_TEXT})


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn's says more than what every client may do.

    The router answers every handshake. uvicorn discards the answer if the connection is gone, and reports
    the answer as missing. At a stop it cancels the requests that go on for too long, and reports their number
    before the traceback of each.
    """
    _, error, _ = record.exc_info or (None, None, None)
    is_cut_off = isinstance(error, asyncio.CancelledError)
    return not is_cut_off and record.msg not in _MAY_BE_DONE


def ignore_what_clients_may_do() -> None:
    """Have uvicorn's log leave out what is not worth logging."""
    logging.getLogger(_LOGGER).addFilter(is_worth_logging)
