"""Run the measurements, print one table of all that is recorded, and make `docs/benchmarks.md` of it.

    python bench/table.py                          # all of them, about ten minutes on a quiet machine
    python bench/table.py growth start             # some of them; the others stay as they were recorded
    python bench/table.py --grid selenium-server-4.48.0.jar
    python bench/table.py --page                   # only make the page again

The text of the page is in `bench/page.md`, the figures are in `bench/results.json`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.rows import BUSY, RECORD, Row, recorded  # noqa: E402 - the root is on the path only now

PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "start": (),
    "sessions": ("11",),
    "relay": (),
    "growth": (),
    "scan": (),
}
"""The programs in the order of the table, with their arguments."""
WITH_GRID: Final = "relay"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
TEXT: Final = Path(__file__).with_name("page.md")
PLACE: Final = "<!-- the table -->"


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table; a row of a busy machine is marked."""
    yield "| program | measure | limit | measured | bare ChromeDriver | Selenium Grid 4.48 |"
    yield "|---|---|---|---|---|---|"
    for program in PROGRAMS:
        if program not in results:
            continue
        found = results[program]
        mark = " (busy)" if found["load"] >= BUSY else ""
        for row in (Row(**fields) for fields in found["rows"]):
            verdict = "" if row.is_kept else "**missed**: "
            cells = [f"`{program}`", row.name, _number(row.most, row.unit)]
            cells.append(f"{verdict}{_number(row.found, row.unit)}{mark}")
            cells += ["" if one is None else _number(one, row.unit) for one in (row.bare, row.grid)]
            yield f"| {' | '.join(cells)} |"


def page(results: Mapping[str, Any], text: str) -> str:
    """Return the page: its text with the table in its place.

    Args:
        results: The recorded results by program.
        text: The text, with `PLACE` in it once.
    """
    return text.replace(PLACE, "\n".join(table(results)))


def _number(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def main() -> int:
    """Measure, print the table and make the page; the exit status is 1 if a limit was exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*", choices=[[], *PROGRAMS], help="which to run; by default all")
    parser.add_argument("--grid", type=Path, help="the jar of Selenium Grid")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    options = parser.parse_args()
    failed = False
    for program in () if options.page else options.programs or PROGRAMS:
        arguments = list(PROGRAMS[program])
        if options.grid and program == WITH_GRID:
            arguments += ["--grid", str(options.grid.resolve())]
        command = [sys.executable, str(ROOT / "bench" / f"{program}.py"), *arguments]
        done = subprocess.run(command, env={**os.environ, RECORD: "1"}, check=False)  # noqa: S603 - ours
        failed = failed or done.returncode != 0
    print("\n".join(table(recorded())))
    PAGE.write_text(page(recorded(), TEXT.read_text(encoding="utf-8")), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
