"""Keep aborted WebSocket handshakes out of the log: any program can send them, as fast as it likes."""

from __future__ import annotations

import logging

_LOGGER = "uvicorn.error"
_NOT_COMPLETED = "ASGI callable returned without completing handshake."


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn's says more than that a client left before it was answered.

    The router answers every handshake. uvicorn discards the answer if the connection is gone, and reports
    the answer as missing.
    """
    return record.msg != _NOT_COMPLETED


def ignore_aborted_handshakes() -> None:
    """Have uvicorn's log leave out aborted handshakes."""
    logging.getLogger(_LOGGER).addFilter(is_worth_logging)
