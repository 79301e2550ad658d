"""The tables of container shapes in the documentation."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.container_shapes import expected_tables

CLEANUP = Path(__file__).resolve().parents[3] / "docs" / "cleanup.md"


def test_the_documentation_has_the_tables_that_real_containers_are_compared_with() -> None:
    assert expected_tables() in CLEANUP.read_text(encoding="utf-8")
