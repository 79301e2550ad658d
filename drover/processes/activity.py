"""Has a process done something since we last looked? Told without asking it."""

from __future__ import annotations

import psutil

from drover.processes.table import ProcessIdentity


def activity_of(identity: ProcessIdentity) -> int:
    """Give a number that changes when the process's main thread has worked, and stands still while it waits.

    These are the context switches: ChromeDriver makes none while nobody sends it a command. A process
    that is gone, or may not be read, gives 0.
    """
    try:
        switches = psutil.Process(identity.pid).num_ctx_switches()
    except psutil.Error:
        return 0
    return int(switches.voluntary + switches.involuntary)
