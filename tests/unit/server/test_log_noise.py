"""What of uvicorn's log is worth logging."""

from __future__ import annotations

import asyncio
import logging

import pytest

from drover.server.log_noise import is_worth_logging


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    cause = None if error is None else (type(error), error, None)
    return logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, message, (), cause)


@pytest.mark.parametrize(
    ("message", "error", "worth"),
    [
        ("Exception in ASGI application\n", ValueError(), True),
        ("Exception in ASGI application\n", asyncio.CancelledError("Task cancelled"), False),
        ("Cancel %s running task(s), timeout graceful shutdown exceeded", None, True),
        ("ASGI callable returned without completing handshake.", None, False),
        ("Unsupported upgrade request.", None, False),
        ("Invalid HTTP request received.", None, False),
        ("Invalid UTF-8 sequence received from client.", UnicodeDecodeError("utf-8", b"", 0, 1, ""), False),
    ],
)
def test_defects_are_worth_logging_and_what_every_client_may_do_is_not(
    message: str, error: BaseException | None, worth: bool
) -> None:
    assert is_worth_logging(record(message, error)) is worth
