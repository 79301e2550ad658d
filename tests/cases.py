"""Cases of a test of which an ordinary run takes the first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_or_all(values: Iterable[object]) -> list[Any]:
    """Return the values of a test's parameter; all but the first are `exhaustive`."""
    return [
        pytest.param(value, marks=[pytest.mark.exhaustive] if number else [])
        for number, value in enumerate(values)
    ]
