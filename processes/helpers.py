"""The helpers of one Chrome, read without a look at the whole process table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from processes.table import Liveness, ProcessIdentity, identify, is_ending_chrome, liveness

_NETWORK: Final = "network.mojom.NetworkService"


def stopped_helpers(browser: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
    """Give the helpers of a living Chrome that somebody has stopped (SIGSTOP); on Linux alone.

    The main process goes on without them, and whatever waits for one of them waits for ever.
    """
    if sys.platform != "linux":
        return ()
    return tuple(one for one in _helpers(browser) if liveness(one) is Liveness.STOPPED)


def has_ending_helper(browser: ProcessIdentity) -> bool:
    """Tell whether a helper of a living Chrome is ending at this moment; on Linux alone.

    Chrome tells of a tab whose renderer has ended within the 20 to 30 ms until the renderer is off the table.
    """
    if sys.platform != "linux":
        return False
    return any(is_ending_chrome(pid) for pid in _pids_below(browser.pid))


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
