"""Imports go one way, and each library has one home."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# From top to bottom; a room may import its own layer and those below.
LAYERS = (
    ("run", "app", "cli", "doctor", "readings"),
    ("web", "attach"),
    ("session_manager", "metrics"),
    ("process_cleanup", "sessions", "browser"),
    ("processes",),
    (
        "addresses",
        "asgi",
        "listening",
        "settings",
        "security",
        "events",
        "errors",
        "deadline",
        "logs",
        "version",
    ),
)
HEIGHT = {room: -depth for depth, rooms in enumerate(LAYERS) for room in rooms}
HOMES = {
    "flask": ("web", "app.py"),
    "prometheus_client": ("metrics.py",),
    "psutil": ("processes",),
    "selenium": ("browser",),
    "sqlite3": ("sessions/store.py",),
}
NOT_ROOMS = ("tests", "bench")
# Who may ask the clock that people set, which may go back: the last sign of life that another instance has
# left in a file, and the start times of processes where a system gives no others.
WALL_CLOCK = ("processes/ownership.py", "processes/portable.py")
SOURCES = [
    path.relative_to(ROOT)
    for path in sorted(ROOT.rglob("*.py"))
    if not path.relative_to(ROOT).parts[0].startswith((".", *NOT_ROOMS))
]


def room_of(source: Path) -> str:
    return source.with_suffix("").parts[0]


@functools.cache
def tree_of(source: Path) -> tuple[ast.AST, ...]:
    """Give every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse((ROOT / source).read_bytes())))


def imports_of(source: Path) -> Iterator[str]:
    """Give the first part of every name imported, at the top or in a function; `.x` stays in its package."""
    for node in tree_of(source):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def is_in(source: Path, homes: tuple[str, ...]) -> bool:
    return source.as_posix().startswith(homes)


def asks_the_wall_clock(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "time.time"


def test_imports_go_down_or_stay_in_their_layer() -> None:
    assert SOURCES
    imports = [(str(source), room_of(source), name) for source in SOURCES for name in imports_of(source)]
    assert [(source, name) for source, room, name in imports if HEIGHT.get(name, -99) > HEIGHT[room]] == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_home(library: str) -> None:
    importing = [source for source in SOURCES if library in imports_of(source)]
    assert importing
    assert [str(source) for source in importing if not is_in(source, HOMES[library])] == []


def test_no_room_imports_another_that_imports_it() -> None:
    graph: dict[str, set[str]] = {}
    for source in SOURCES:
        others = {name for name in imports_of(source) if name in HEIGHT and name != room_of(source)}
        graph.setdefault(room_of(source), set()).update(others)
    TopologicalSorter(graph).prepare()


def test_no_duration_is_measured_on_a_clock_that_can_be_set_back() -> None:
    asking = [source.as_posix() for source in SOURCES if any(map(asks_the_wall_clock, tree_of(source)))]
    assert asking == sorted(WALL_CLOCK)
