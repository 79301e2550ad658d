from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from drover.sessions.pool.session import TRANSITIONS, SessionState

README = Path(__file__).parents[3] / "README.md"


def diagram() -> Iterator[str]:
    """Yield the lines of the state diagram; start and end states are those in the table's docstring."""
    yield "stateDiagram-v2"
    yield f"    [*] --> {SessionState.STARTING.value}"
    for state, following in TRANSITIONS.items():
        yield from (f"    {state.value} --> {name}" for name in sorted(one.value for one in following))
    yield f"    {SessionState.STARTING.value} --> [*]"
    yield f"    {SessionState.CLOSING.value} --> [*]"


def test_the_diagram_of_states_in_the_readme_is_that_of_the_table() -> None:
    assert "\n".join(["```mermaid", *diagram(), "```"]) in README.read_text(encoding="utf-8")


def test_the_readme_names_every_dependency_and_why_it_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    for file in ("requirements.txt", "requirements-cluster.txt", "requirements-dev.txt"):
        lines = (README.parent / file).read_text(encoding="utf-8").splitlines()
        names = [re.split(r"[\[>]", line)[0] for line in lines if line and not line.startswith(("#", "-r"))]
        assert names
        assert [name for name in names if name.removeprefix("types-") not in text] == []
