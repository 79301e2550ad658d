"""Switches on the command lines of Chrome and ChromeDriver. Pure text functions.

A client chooses the values of many switches, and a value may contain text like ` --user-data-dir=...`. So a
switch counts only if it is an argument of its own. On Linux, Chrome's helpers replace their arguments by one
string, joined by spaces (Chromium's base/process/set_process_title_linux.cc). In that string a
switch and a part of a value look the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def is_rewritten(cmdline: Sequence[str]) -> bool:
    """Return whether a process has replaced its arguments by one string, as Chrome's helpers on Linux do."""
    return len(cmdline) == 1 and " --" in cmdline[0]


def switch_values(cmdline: Sequence[str] | None, name: str) -> tuple[str, ...]:
    """Return the values that `--name=` may have, in the order of the command line.

    From separate arguments at most one, the first. From a rewritten command line all that look like one; the
    type of a helper comes first there, and no other switch has a known place.
    """
    if not cmdline:
        return ()
    prefix = f"--{name}="
    if is_rewritten(cmdline):
        return tuple(re.findall(rf"\s{re.escape(prefix)}(.*?)(?=\s--|\s*$)", cmdline[0], re.DOTALL))
    own = next((argument for argument in cmdline[1:] if argument.startswith(prefix)), None)
    return () if own is None else (own.removeprefix(prefix),)


def switch_value(cmdline: Sequence[str] | None, name: str) -> str | None:
    """Return the value of `--name=`; None if there is none, or if it cannot be told from a client's text."""
    found = switch_values(cmdline, name)
    return found[0] if len(found) == 1 else None


def has_switch(cmdline: Sequence[str] | None, name: str) -> bool:
    """Return whether `--name` or `--name=...` is an argument of its own."""
    bare, prefix = f"--{name}", f"--{name}="
    return any(argument == bare or argument.startswith(prefix) for argument in (cmdline or ())[1:])
