"""What is read of one Chrome's helpers: real children of a process that has Chrome's name."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest

from processes.helpers import has_ending_helper, stopped_helpers
from tests.integration.children import children, identity, state, stop
from tests.machine import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists children and their ends")


def with_a_helper(program: Path) -> str:
    """Give the script of a main process that waits for one helper."""
    return f"'{program}' -c read <&0 & echo ready; wait"


def test_a_helper_that_was_killed_is_ending_until_chrome_has_taken_note(folder: Path) -> None:
    with children(folder) as kids:
        main = kids.start(script=with_a_helper(kids.program("chrome")))
        browser, (helper,) = identity(main), psutil.Process(main.pid).children()
        assert not has_ending_helper(browser)
        stop(main)
        helper.kill()
        wait_until(lambda: state(helper.pid) == "Z", "a defunct helper")
        assert has_ending_helper(browser)
        main.send_signal(signal.SIGCONT)
        wait_until(lambda: not has_ending_helper(browser), "the helper is off the table")


def test_a_helper_that_is_no_chrome_may_end_as_it_likes(folder: Path) -> None:
    with children(folder) as kids:
        main = kids.start(script=with_a_helper(kids.program("cat")))
        browser, (helper,) = identity(main), psutil.Process(main.pid).children()
        stop(main)
        helper.kill()
        wait_until(lambda: state(helper.pid) == "Z", "a defunct cat")
        assert not has_ending_helper(browser)


def test_a_helper_that_somebody_has_stopped_is_found(folder: Path) -> None:
    with children(folder) as kids:
        main = kids.start(script=with_a_helper(kids.program("chrome")))
        browser, (helper,) = identity(main), psutil.Process(main.pid).children()
        assert stopped_helpers(browser) == ()
        helper.suspend()
        wait_until(lambda: state(helper.pid) == "T", "a stopped helper")
        assert [one.pid for one in stopped_helpers(browser)] == [helper.pid]
