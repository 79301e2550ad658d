"""What is read of one Chrome's helpers: real children of a process with Chrome's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from drover.processes.helpers import Helpers, look_at_helpers
from tests.integration.child_processes import Children, children, identity, state
from tests.machine import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists children and their ends")


def with_a_helper(kids: Children, name: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start a main process that does not reap its one helper, and return both."""
    main = kids.start(script=f"'{kids.program(name)}' -c read <&0 & echo ready; exec sleep 600")
    process = psutil.Process(main.pid)
    # A shell would reap its child.
    wait_until(lambda: process.name() == "sleep", "the main process is no longer a shell")
    (helper,) = process.children()
    wait_until(lambda: helper.name() == name, "the helper has its own name")
    return main, helper


def test_a_helper_that_ended_is_reported_until_it_is_reaped(folder: Path) -> None:
    with children(folder) as kids:
        main, helper = with_a_helper(kids, "chrome")
        browser = identity(main)
        assert look_at_helpers(browser) == Helpers()
        helper.kill()
        wait_until(lambda: state(helper.pid) == "Z", "a defunct helper")
        assert look_at_helpers(browser) == Helpers(ending=True)
        main.kill()
        wait_until(lambda: state(main.pid) in {"Z", None}, "the end of the main process")
        assert look_at_helpers(browser) == Helpers()


def test_a_child_that_is_not_chrome_is_ignored(folder: Path) -> None:
    with children(folder) as kids:
        main, helper = with_a_helper(kids, "cat")
        browser = identity(main)
        helper.kill()
        wait_until(lambda: state(helper.pid) == "Z", "a defunct cat")
        assert look_at_helpers(browser) == Helpers()


def test_a_stopped_helper_is_reported(folder: Path) -> None:
    with children(folder) as kids:
        main, helper = with_a_helper(kids, "chrome")
        browser = identity(main)
        assert look_at_helpers(browser) == Helpers()
        helper.suspend()
        wait_until(lambda: state(helper.pid) == "T", "a stopped helper")
        assert [one.pid for one in look_at_helpers(browser).stopped] == [helper.pid]
