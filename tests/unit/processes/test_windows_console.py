"""Console events of Windows, as numbers: which of them end the service."""

from __future__ import annotations

import pytest

from drover.processes.host.windows_console import console_event_handler

CTRL_C, CTRL_BREAK, CLOSE, LOGOFF, SHUTDOWN = 0, 1, 2, 5, 6


@pytest.mark.parametrize("event", [CLOSE, LOGOFF, SHUTDOWN])
def test_what_ends_the_program_ends_the_browsers_before_the_handler_returns(event: int) -> None:
    ended: list[str] = []
    assert console_event_handler(lambda: ended.append("all"))(event) is True
    assert ended == ["all"]


@pytest.mark.parametrize("event", [CTRL_C, CTRL_BREAK, 3, 99])
def test_what_python_hears_as_a_signal_is_left_to_it(event: int) -> None:
    ended: list[str] = []
    assert console_event_handler(lambda: ended.append("all"))(event) is False
    assert ended == []
