"""Defunct processes that were re-parented to the service: the first process has to reap them.

In a container without an init, the service is the first process. Chrome double-forks its crash handlers on
purpose, and every helper that outlives its parent is re-parented as well: about ten for each session.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from drover.processes.cleanup.chrome_names import kind_of_cut_name
from drover.processes.termination import reap
from drover.processes.values import ProcessStatus


def reap_defunct_chrome(spared: Collection[int]) -> tuple[int, ...]:
    """Reap the defunct Chrome children of the service, one by one; return their pids. Linux only.

    Args:
        spared: Pids of children that other code waits for.
    """
    return reap(pid for pid in _defunct_chrome() if pid not in spared)


if sys.platform == "linux":
    from drover.processes.linux import read_stat

    def _defunct_chrome() -> Iterator[int]:
        for pid in _children():
            stat = read_stat(pid)
            if stat is None or stat.status is not ProcessStatus.ZOMBIE:
                continue
            if kind_of_cut_name(stat.name, "linux"):
                yield pid

    def _children() -> Iterator[int]:
        # The kernel lists children by the thread that started or inherited them.
        for listed in Path("/proc/self/task").glob("*/children"):
            try:
                yield from map(int, listed.read_bytes().split())
            except OSError:
                # The thread has ended; another thread inherited its children.
                continue

else:

    def _defunct_chrome() -> Iterator[int]:
        return iter(())
