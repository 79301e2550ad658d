"""The helpers of one Chrome, read without a look at the whole process table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from drover.processes.cleanup.chrome_names import may_be_chrome
from drover.processes.table import Liveness, ProcessIdentity, identify, liveness, peek

_ENDING: Final = {Liveness.DYING, Liveness.GONE}
_NETWORK: Final = "network.mojom.NetworkService"


@dataclass(frozen=True, slots=True)
class Helpers:
    """What is the matter with a Chrome's helpers.

    Attributes:
        stopped: Those that somebody has stopped (SIGSTOP). The main process goes on without them, and
            whatever waits for one of them waits for ever.
        ending: One has ended, or is about to, and is not off the process table yet. Within the 20 to 30 ms
            that this takes Chrome tells of a tab whose renderer it was.
    """

    stopped: tuple[ProcessIdentity, ...] = ()
    ending: bool = False


def look_at_helpers(browser: ProcessIdentity) -> Helpers:
    """Look at the helpers of a Chrome, in some 0.7 ms; on Linux alone."""
    if sys.platform != "linux" or liveness(browser) is not Liveness.ALIVE:
        return Helpers()
    seen = [one for one in map(peek, _pids_below(browser.pid)) if one is not None]
    return Helpers(
        tuple(one.identity for one in seen if one.liveness is Liveness.STOPPED),
        any(one.liveness in _ENDING and may_be_chrome(one.name) for one in seen),
    )


def network_process(browser: ProcessIdentity) -> ProcessIdentity | None:
    """Give the helper that does a living Chrome's networking and holds its cookies; None where none is seen.

    Chrome starts it anew when it dies, without the cookies that were not on the disk yet.
    """
    return next((one for one in _helpers(browser) if _NETWORK in _command_line(one.pid)), None)


def _helpers(browser: ProcessIdentity) -> Iterator[ProcessIdentity]:
    if liveness(browser) is not Liveness.ALIVE:
        return
    for pid in _pids_below(browser.pid):
        helper = identify(pid)
        if helper is not None:
            yield helper


def _pids_below(pid: int) -> list[int]:
    if sys.platform == "linux":
        return list(_linux_pids_below(pid))
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _linux_pids_below(pid: int) -> Iterator[int]:
    """Give the descendants as the kernel lists them: by the thread that forked; it may be built without that.

    Any thread of the main process forks; of the helpers only the zygotes do, which have a single thread.
    """
    try:
        threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return
    for thread in threads:
        for child in _children(pid, thread):
            yield child
            for grandchild in _children(child, child):
                yield grandchild
                yield from _children(grandchild, grandchild)


def _children(pid: int, thread: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{thread}/children").read_bytes()
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def _command_line(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
