"""The mark on a command line that says which session a process belongs to.

Every session has a folder `<data_dir>/s/<name>`. ChromeDriver carries it in `--log-path=`, Chrome with all
its helpers in `--user-data-dir=`, the crash handlers in `--database=`: a path on the command line can be read
on every system, and Chrome's helpers keep it when they re-write their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

_MARK = re.compile(
    r"""(?:^|[\s"])--(?P<switch>user-data-dir|log-path|database)=
    "?(?P<data_dir>(?:/|[A-Za-z]:[\\/]|\\\\)(?:(?!\s--).)*?)
    (?P<sessions>[\\/]s[\\/])(?P<name>[a-z0-9]{8})[\\/](?P<part>p|chromedriver\.log|c)(?=["\s]|$)""",
    re.VERBOSE,
)
_PART_OF_SWITCH = {"user-data-dir": "p", "log-path": "chromedriver.log", "database": "c"}


@dataclass(frozen=True, slots=True)
class SessionMark:
    """A session's folder as a command line names it.

    Attributes:
        folder: `<data_dir>/s/<name>`, with the separators that the command line has.
    """

    data_dir: str
    folder: str


def session_mark(cmdline: Sequence[str] | None) -> SessionMark | None:
    """Give the mark that a command line carries, or None.

    Chrome's helpers re-write their arguments as one string joined by spaces, so paths with spaces are found
    in the joined text; none of our paths holds a space followed by two dashes.
    """
    if not cmdline:
        return None
    for found in _MARK.finditer(" ".join(cmdline)):
        if _PART_OF_SWITCH[found["switch"]] == found["part"]:
            return SessionMark(found["data_dir"], f"{found['data_dir']}{found['sessions']}{found['name']}")
    return None


class OwnerState(str, Enum):
    """What the lock of a data folder says about the instance that uses it."""

    LIVING = "living"
    RECENT = "recent"
    DEAD = "dead"
    UNREADABLE = "unreadable"
