"""Whether a process has been active, determined without sending it a request."""

from __future__ import annotations

import psutil

from drover.processes.table import ProcessIdentity


def activity_of(identity: ProcessIdentity) -> int | None:
    """Return a number that changes when the main thread of the process works, and not while it waits.

    This is the count of context switches: ChromeDriver makes none while no client sends it a command.
    Returns None if they are not counted, as under Wine, or cannot be read.
    """
    try:
        switches = psutil.Process(identity.pid).num_ctx_switches()
    except psutil.Error:
        return None
    # A program that has run at all has made some.
    return int(switches.voluntary + switches.involuntary) or None
