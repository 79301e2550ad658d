"""Zombies that are re-parented to the first process of a container are reaped by pid; nothing else is."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drover.processes.defunct import reap_defunct_chrome
from tests.integration.child_processes import Children, children, state
from tests.machine import living, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux re-parents processes to the test")


@pytest.fixture(name="kids")
def _kids(folder: Path) -> Iterator[Children]:
    with children(folder) as made:
        yield made


def zombie(folder: Path, name: str) -> int:
    """Start a program with this name that its parent does not wait for, and wait until it is a zombie."""
    program = folder / name
    shutil.copy2("/bin/true", program)
    pid = os.posix_spawn(program, [name], {})
    wait_until(lambda: state(pid) == "Z", "a zombie")
    return pid


def test_defunct_chrome_of_every_kind_is_reaped(folder: Path) -> None:
    pids = {zombie(folder, name) for name in ("chromium", "chrome", "chrome_crashpad_handler")}
    assert set(reap_defunct_chrome(spared=())) == pids
    assert [state(pid) for pid in pids] == [None, None, None]


def test_living_spared_and_other_processes_are_not_reaped(folder: Path, kids: Children) -> None:
    alive = kids.start(name="chromium")
    known, stranger = zombie(folder, "chromedriver"), zombie(folder, "helper")
    try:
        assert reap_defunct_chrome(spared={known}) == ()
        assert living([alive.pid]) == {alive.pid}
        assert [state(known), state(stranger)] == ["Z", "Z"]
    finally:
        for pid in (known, stranger):
            os.waitpid(pid, 0)
