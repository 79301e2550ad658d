"""Which error ChromeDriver's words about a failed start become."""

from __future__ import annotations

import pytest

from drover.browser.driver_client import CommandFailed, NoResponse
from drover.browser.start_diagnostics import (
    ChromeDied,
    ChromeFailed,
    StartInterrupted,
    WrongVersion,
    start_failure,
)
from drover.core.errors import BrowserUnavailable


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("session not created: Chrome instance exited. Examine ChromeDriver verbose log", ChromeDied),
        ("session not created: DevToolsActivePort file doesn't exist", ChromeDied),
        ("session not created: This version of ChromeDriver only supports Chrome version 155", WrongVersion),
        ("session not created\nfrom unknown error: failed to write prefs file", BrowserUnavailable),
        ("session not created: cannot create default profile directory", BrowserUnavailable),
        ("session not created: Failed to create Chrome process.", BrowserUnavailable),
        (
            "session not created: Devtools port number file contents <> were in an unexpected format",
            StartInterrupted,
        ),
        ("session not created: no chrome binary at /opt/chrome", ChromeFailed),
    ],
)
def test_a_failure_is_what_chromedriver_says_it_is(words: str, kind: type[BrowserUnavailable]) -> None:
    assert type(start_failure("why", CommandFailed(words))) is kind


def test_a_chromedriver_that_says_nothing_proves_nothing() -> None:
    assert type(start_failure("why", NoResponse("Chrome instance exited"))) is StartInterrupted
