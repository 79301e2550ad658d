"""The mark on a command line that identifies the session of a process.

Every session has a folder `<data_dir>/s/<name>`. ChromeDriver names it in `--log-path=`, Chrome and its
helpers in `--user-data-dir=`, the crash handlers in `--database=`. A path on the command line is readable on
every system, and Chrome's helpers keep it when they rewrite their arguments.
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
    """The folder of a session, as a command line names it.

    Attributes:
        folder: `<data_dir>/s/<name>`, with the separators of the command line.
    """

    data_dir: str
    folder: str


def session_mark(cmdline: Sequence[str] | None) -> SessionMark | None:
    """Return the mark on a command line, or None.

    Chrome's helpers rewrite their arguments as one string joined by spaces. Therefore the mark is searched in
    the joined text; no path of ours contains a space followed by two dashes.
    """
    if not cmdline:
        return None
    for found in _MARK.finditer(" ".join(cmdline)):
        if _PART_OF_SWITCH[found["switch"]] == found["part"]:
            return SessionMark(found["data_dir"], f"{found['data_dir']}{found['sessions']}{found['name']}")
    return None


class OwnerState(str, Enum):
    """The state of the instance that owns a data folder, according to its lock."""

    LIVING = "living"
    RECENT = "recent"
    DEAD = "dead"
    UNREADABLE = "unreadable"
