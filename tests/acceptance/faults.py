"""Faults of a session's processes: killed or stopped from outside, by pid."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

import psutil

from tests.acceptance.service import Json, Service, folder_of
from tests.machine import IS_WINE, command_line, living, marked, wait_gone, wait_until

APPEARS_S: Final = 20.0
FAST_POLL_S: Final = 0.002


def kill(*pids: int) -> None:
    """Kill processes of a session and wait until they are gone."""
    send_kill(*pids)
    wait_gone(pids)


def send_kill(*pids: int) -> None:
    """Kill those processes that still exist; do not wait."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def stop(*pids: int) -> None:
    """Stop processes of a session, as Ctrl-Z does."""
    for pid in pids:
        psutil.Process(pid).suspend()
    for pid in () if IS_WINE else pids:
        wait_until(lambda pid=pid: is_stopped(pid), f"{pid} is stopped")  # type: ignore[misc]


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped."""
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def helpers(session: Json, words: str) -> set[int]:
    """Return the living helpers of a session's Chrome whose command line contains `words`."""
    return {process.pid for process in marked(folder_of(session)) if words in command_line(process)}


def renderers(session: Json) -> set[int]:
    """Return the renderer processes of a session."""
    return helpers(session, "--type=renderer")


def network_process(session: Json) -> set[int]:
    """Return the network process of a session."""
    return helpers(session, "network.mojom.NetworkService")


def drivers(service: Service) -> set[int]:
    """Return the living ChromeDrivers of a service.

    A process that one of them forks has its command line until it executes Chrome.
    """
    found = {process.pid: process for process in service.processes() if _program(process) == "chromedriver"}
    return {pid for pid, process in found.items() if _parent(process) not in found}


def browsers(service: Service) -> set[int]:
    """Return the main processes of a service's living browsers."""
    return {
        process.pid
        for process in service.processes()
        if "--type=" not in command_line(process) and "--user-data-dir=" in command_line(process)
    }


def new_driver(service: Service, before: set[int]) -> int:
    """Wait for a ChromeDriver that is not in `before`, as early as possible."""
    deadline = time.monotonic() + APPEARS_S
    while time.monotonic() < deadline:
        fresh = drivers(service) - before
        if fresh:
            return fresh.pop()
        time.sleep(FAST_POLL_S)
    raise AssertionError(f"no new ChromeDriver within {APPEARS_S:g} s")


def new_browser(service: Service, before: set[int]) -> int:
    """Wait for a Chrome that is not in `before`, as early as possible."""
    deadline = time.monotonic() + APPEARS_S
    while time.monotonic() < deadline:
        fresh = browsers(service) - before
        if fresh:
            return fresh.pop()
        time.sleep(FAST_POLL_S)
    raise AssertionError(f"no new Chrome within {APPEARS_S:g} s")


def is_accounted_for(service: Service) -> bool:
    """Return whether every process and folder belongs to a listed session, with one browser each."""
    listed = service.listed().values()
    with contextlib.suppress(psutil.NoSuchProcess):
        owned = {session["browser"]["pid"] for session in listed if session["browser"]}
        known = {str(folder_of(session)) for session in listed if session["driver"]}
        return browsers(service) == living(owned) and {str(one) for one in service.session_folders()} == known
    return False


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        return process.ppid()
    return None


def _program(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, IndexError):
        return Path(process.cmdline()[0]).stem
    return ""
