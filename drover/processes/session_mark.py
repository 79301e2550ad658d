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
from typing import Final

from drover.processes.command_line import switch_value, switch_values
from drover.processes.folders import FolderId

_MARKED_PATH = re.compile(
    r"""(?P<data_dir>(?:/|[A-Za-z]:[\\/]|\\\\)(?:(?!\s--).)*?)
    (?P<sessions>[\\/]s[\\/])(?P<name>[a-z0-9]{8})[\\/](?P<part>p|chromedriver\.log|c)""",
    re.VERBOSE | re.DOTALL,
)
_PART_OF_SWITCH: Final = {"user-data-dir": "p", "log-path": "chromedriver.log", "database": "c"}
"""The switch of Chrome first: among its own arguments a client may have put one of the others."""


MarkedSession = tuple[FolderId | None, str]
"""A session, whatever path its mark names: its data folder (None: not found), and the name of its folder."""


@dataclass(frozen=True, slots=True)
class SessionMark:
    """The folder of a session, as a command line names it.

    Attributes:
        data_dir: The path of the data folder.
        folder: `<data_dir>/s/<name>`, with the separators of the command line.
        home: The data folder itself; None if it cannot be found.
        moved: Whether the path leads elsewhere by now, because the data folder was moved.
    """

    data_dir: str
    folder: str
    home: FolderId | None = None
    moved: bool = False

    @property
    def name(self) -> str:
        """The name of the session's folder, which is random and so unique in its data folder."""
        return self.folder[-8:]

    @property
    def session(self) -> MarkedSession:
        """The session that the process belongs to."""
        return (self.home, self.name)


def session_mark(cmdline: Sequence[str] | None) -> SessionMark | None:
    """Return the mark on a command line, or None.

    Only the first of the three switches that is present counts: it is an argument that no client can set. In
    arguments that were rewritten as one string it counts only if nothing else looks like it.
    """
    switch = next((name for name in _PART_OF_SWITCH if switch_values(cmdline, name)), None)
    value = switch_value(cmdline, switch) if switch is not None else None
    found = _MARKED_PATH.fullmatch(value.strip('"')) if value is not None else None
    if switch is None or found is None or found["part"] != _PART_OF_SWITCH[switch]:
        return None
    return SessionMark(found["data_dir"], f"{found['data_dir']}{found['sessions']}{found['name']}")


class OwnerState(str, Enum):
    """The state of the instance that owns a data folder, according to its lock."""

    LIVING = "living"
    RECENT = "recent"
    DEAD = "dead"
    UNREADABLE = "unreadable"
