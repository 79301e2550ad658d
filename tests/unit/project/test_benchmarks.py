"""The page of benchmarks is what the program makes of the recorded results."""

from __future__ import annotations

from bench.rows import recorded
from bench.table import PAGE, PLACE, PROGRAMS, TEXT, page, table


def test_the_page_is_made_of_the_recorded_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(recorded(), TEXT.read_text(encoding="utf-8"))


def test_all_that_is_recorded_is_shown() -> None:
    assert set(recorded()) <= set(PROGRAMS)


def test_a_missed_limit_and_a_busy_machine_are_named() -> None:
    rows = [
        {"name": "kept", "found": 1.0, "most": 2.0, "unit": "ms", "bare": 0.5},
        {"name": "missed", "found": 3.0, "most": 2.0, "unit": "ms"},
    ]
    lines = list(table({"scan": {"day": "2026-11-26", "load": 7.5, "rows": rows}}))
    assert lines[2:] == [
        "| `scan` | kept | 2 ms | 1 ms (busy) | 0.5 ms |  |",
        "| `scan` | missed | 2 ms | **missed**: 3 ms (busy) |  |  |",
    ]


def test_the_text_has_one_place_for_the_table() -> None:
    assert TEXT.read_text(encoding="utf-8").count(PLACE) == 1
