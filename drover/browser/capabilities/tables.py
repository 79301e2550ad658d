"""The tables of what clients ask for: switches, preferences and capabilities, each with what becomes of it.

They are data (`data/*.csv`), made from a survey of what public scripts, test runners and libraries really
send, and of Chromium's source. The columns:

    name      as it is sent; `*` stands for any characters
    decision  allow, set_aside or refuse
    fixed     "yes" if DROVER_ALLOW_UNSAFE_CAPABILITIES=1 does not change the decision
    rule      a check of the value (switches.py, preferences.py); a value that fails is refused
    why       what it does, or why it is not passed on; shown to clients
    seen      the tools that send it, or where it is known from
    chrome    "156" if the name was found in the executable of Chromium 156 (switches only)
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from importlib import resources

from drover.browser.capabilities.values import forbidden


class Decision(str, Enum):
    """What becomes of something that a client asks for."""

    ALLOW = "allow"
    SET_ASIDE = "set_aside"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; the columns are described above."""

    name: str
    decision: Decision
    fixed: bool
    rule: str
    why: str
    seen: str
    chrome: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that a client asked for and that was set aside.

    Attributes:
        name: Its name, as in the tables.
        reason: Why it was set aside, as a clause.
    """

    name: str
    reason: str


class Table:
    """Rows by name.

    Args:
        ignore_case: Whether names that differ only in case are the same, as those of switches are.
    """

    def __init__(self, rows: Iterable[Row], *, ignore_case: bool = False) -> None:
        self.rows = tuple(rows)
        self._fold = str.lower if ignore_case else str
        self._by_name = {self._fold(row.name): row for row in self.rows}
        self._patterns = tuple((self._fold(row.name), row) for row in self.rows if "*" in row.name)

    def find(self, name: str) -> Row | None:
        """Return the row of a name, else the first row whose pattern matches; None if there is none."""
        folded = self._fold(name)
        known = self._by_name.get(folded)
        if known is not None:
            return known
        return next((row for pattern, row in self._patterns if fnmatchcase(folded, pattern)), None)

    def find_above(self, dotted: str) -> Row | None:
        """Return the row of a dotted name, else that of the nearest level above it; None if there is none."""
        parts = self._fold(dotted).split(".")
        names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        return next((self._by_name[name] for name in names if name in self._by_name), None)


def decide(row: Row | None, *, allow_unsafe: bool) -> Decision:
    """Return what becomes of something with this row; what has none is unknown, and set aside."""
    if allow_unsafe and (row is None or not row.fixed):
        return Decision.ALLOW
    return Decision.SET_ASIDE if row is None else row.decision


def set_aside_reason(
    row: Row | None, what: str, field: str, unknown: str, *, allow_unsafe: bool
) -> str | None:
    """Return why something with this row is set aside, or None if it is passed on.

    Args:
        what: It, as in "The capability x".
        unknown: Why it is set aside if it has no row.

    Raises:
        ForbiddenCapability: It is refused.
    """
    decision = decide(row, allow_unsafe=allow_unsafe)
    if decision is Decision.ALLOW:
        return None
    if row is None:
        return unknown
    if decision is Decision.REFUSE:
        raise forbidden(field, what, row.why, fixed=row.fixed)
    return row.why


def _read(name: str) -> Iterator[Row]:
    text = resources.files(__package__).joinpath("data").joinpath(name).read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        yield Row(
            line["name"],
            Decision(line["decision"]),
            line["fixed"] == "yes",
            line["rule"],
            line["why"],
            line["seen"],
            line.get("chrome", ""),
        )


SWITCHES = Table(_read("switches.csv"), ignore_case=True)
PREFERENCES = Table(_read("preferences.csv"), ignore_case=True)
CAPABILITIES = Table(_read("capabilities.csv"))
