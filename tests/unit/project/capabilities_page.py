"""The tables of docs/capabilities.md, made from those that the code decides by.

`python -m tests.unit.project.capabilities_page` writes them anew after a change of a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from drover.browser.capabilities.tables import CAPABILITIES, PREFERENCES, SWITCHES, Decision, Row

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "capabilities.md"
MARK: Final = "<!-- Below: python -m tests.unit.project.capabilities_page -->\n"
TITLES: Final = {
    Decision.ALLOW: "passed on",
    Decision.SET_ASIDE: "set aside",
    Decision.REFUSE: "refused",
}
ALWAYS: Final = " (always)"


def rendered() -> str:
    """Return the whole page: what is written by hand, and the tables."""
    head, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return head + mark + "\n".join(_sections())


def _sections() -> Iterator[str]:
    for name, table in (("Switches", SWITCHES), ("Preferences", PREFERENCES), ("Capabilities", CAPABILITIES)):
        for decision in Decision:
            yield f"\n## {name} that are {TITLES[decision]}"
            yield f"| {'what they do' if decision is Decision.ALLOW else 'why'} | names |\n|---|---|"
            yield from _lines([row for row in table.rows if row.decision is decision])
    yield ""


def _lines(rows: list[Row]) -> Iterator[str]:
    """Yield a line for each reason, with the names that share it."""
    ordered = sorted(rows, key=_reason)
    for reason, group in groupby(ordered, key=_reason):
        names = " ".join(f"`{row.name}`" for row in sorted(group, key=lambda row: row.name))
        yield f"| {reason} | {names} |"


def _reason(row: Row) -> str:
    return row.why + (ALWAYS if row.fixed else "")


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
