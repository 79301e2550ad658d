"""Keep out of the log what any client may do: abort WebSocket handshakes, and offer other protocols."""

from __future__ import annotations

import logging

_LOGGER = "uvicorn.error"
_NOT_COMPLETED = "ASGI callable returned without completing handshake."
_OTHER_PROTOCOL = "Unsupported upgrade request."
"""Java's client, and so each request of a Selenium Grid's node, offers HTTP/2; HTTP/1.1 goes on."""


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn's says more than what every client may do.

    The router answers every handshake. uvicorn discards the answer if the connection is gone, and reports
    the answer as missing.
    """
    return record.msg not in {_NOT_COMPLETED, _OTHER_PROTOCOL}


def ignore_aborted_handshakes() -> None:
    """Have uvicorn's log leave out aborted handshakes."""
    logging.getLogger(_LOGGER).addFilter(is_worth_logging)
