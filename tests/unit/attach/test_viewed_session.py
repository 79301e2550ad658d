"""The page that a view shows: of the session's own browser, or none."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from drover.attach.viewed_session import read_front_page
from drover.browser.health import Page
from drover.processes.table import ProcessIdentity, identify
from tests.unit.examples import RUNNING, session


@pytest.mark.parametrize("lives", [True, False])
def test_a_browser_that_has_got_the_port_of_one_that_died_is_not_shown(*, lives: bool) -> None:
    own = identify(os.getpid())
    assert own is not None
    browser = own if lives else ProcessIdentity(own.pid, own.started - 1)
    there = session("one", running=replace(RUNNING, browser=browser))
    access: Any = SimpleNamespace(session=lambda _: there)
    devtools: Any = SimpleNamespace(pages=lambda *_: (Page("P1", "https://example.org/"),))
    found = read_front_page(access, devtools, "one", 1.0)
    assert (found is not None) is lives
