"""Rows of measurements: how they are printed, and how they are recorded for `docs/benchmarks.md`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).with_name("results.json")
RECORD: Final = "BENCH_RECORD"
"""While this variable of the environment is set, what is printed is recorded as well."""
BUSY: Final = 1.0
"""From this load average on, other programs were running: a figure in seconds says little."""


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: What was measured.
        found: The value.
        most: Its upper bound.
        unit: The unit of both.
        bare: What the same work takes at a ChromeDriver without a service, if it was measured in this run.
        grid: What it takes through Selenium Grid, likewise.
    """

    name: str
    found: float
    most: float
    unit: str
    bare: float | None = None
    grid: float | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the value is within the bound."""
        return self.found <= self.most

    def __str__(self) -> str:
        others = (("bare", self.bare), ("Grid", self.grid))
        beside = "".join(f"; {name} {value:.2f}" for name, value in others if value is not None)
        verdict = "kept" if self.is_kept else "MISSED"
        return f"{self.name:<62} {self.found:8.2f} {self.unit:<3} (at most {self.most:g}{beside}) {verdict}"


def report(program: str, rows: Iterable[Row]) -> int:
    """Print the rows as they come, record them if that is asked for, and return the exit status.

    Args:
        program: The name of the program that measures, without its suffix.
        rows: The measurements; each is taken when it is read.
    """
    load, found = os.getloadavg()[0], []
    for row in rows:
        print(row, flush=True)
        found.append(row)
    if os.environ.get(RECORD):
        _record(program, load, found)
    return 0 if all(row.is_kept for row in found) else 1


def recorded() -> Mapping[str, Any]:
    """Return the recorded results by program: the day, the load of the machine before, and the rows."""
    results: Mapping[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return results


def _record(program: str, load: float, rows: Sequence[Row]) -> None:
    day = datetime.now(timezone.utc).date().isoformat()
    known = [{name: value for name, value in asdict(row).items() if value is not None} for row in rows]
    results = {**recorded(), program: {"day": day, "load": round(load, 1), "rows": known}}
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
