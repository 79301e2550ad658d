"""Defunct processes that were re-parented to this program, and that nobody else would reap (Linux).

A child starts in the session of its parent, or leads one of its own. A process in any other session was
started by another program, so no code of this one waits for it, and it is reaped at once. Of all others that
is known only if the whole program is Drover, which starts its children with `children.start`.
"""

from __future__ import annotations

import sys

from drover.processes.children import reap
from drover.processes.values import ProcessStatus, Stat

if sys.platform == "linux":
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from drover.processes.linux import read_stat

    def reap_orphans(*, is_whole_program: bool = False) -> tuple[int, ...]:
        """Reap the defunct children that nobody waits for; return their pids.

        Args:
            is_whole_program: Whether Drover is the whole program, so that other children are not waited for.
        """
        if not _is_any_child_defunct():
            return ()
        own_session = os.getsid(0)
        return reap(
            pid for pid, stat in _defunct_children() if is_whole_program or is_adopted(pid, stat, own_session)
        )

    def _is_any_child_defunct() -> bool:
        """Return whether there is anything to reap, in one call; the list of children takes 3 ms."""
        try:
            return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return False

    def _defunct_children() -> Iterator[tuple[int, Stat]]:
        for pid in _children():
            stat = read_stat(pid)
            if stat is not None and stat.status is ProcessStatus.ZOMBIE:
                yield pid, stat

    def _children() -> Iterator[int]:
        # The kernel lists children by the thread that started or inherited them.
        for listed in Path("/proc/self/task").glob("*/children"):
            try:
                yield from map(int, listed.read_bytes().split())
            except OSError:
                # The thread has ended; another thread inherited its children.
                continue

else:

    def reap_orphans(*, is_whole_program: bool = False) -> tuple[int, ...]:  # noqa: ARG001 - Linux only
        """Return (): only Linux re-parents processes to a program that is not the first process."""
        return ()


def is_adopted(pid: int, stat: Stat, own_session: int) -> bool:
    """Return whether another program started a child of this one: its session proves it."""
    return stat.sid not in (None, own_session, pid)
