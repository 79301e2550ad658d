"""Imports go one way, and each library is used by one package only, also through a third module."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# From top to bottom; a module may import its own layer and those below. The longest prefix decides.
LAYERS = (
    ("run", "app", "deploy"),
    ("drover.cli", "drover.server"),
    ("drover.web", "drover.attach", "drover.cluster"),
    ("drover.api",),
    ("session_manager",),
    ("process_cleanup",),
    ("drover.sessions", "drover.browser"),
    ("drover.storage",),
    ("drover.processes",),
    ("drover.net", "drover.client", "drover.core"),
)
HEIGHT = {prefix: -depth for depth, prefixes in enumerate(LAYERS) for prefix in prefixes}
# Packages that may import a library, and folders that must not reach it, not even through a third module.
HOMES = {
    "starlette": ("drover/web",),
    "prometheus_client": ("drover/web/metrics.py",),
    "psutil": ("drover/processes",),
    "selenium": ("drover/browser", "drover/client.py"),
    "sqlite3": ("drover/storage",),
    "psycopg": ("drover/storage/postgres", "drover/server/storage_parts.py"),
}
UNREACHABLE = {
    "drover.attach": ("starlette",),
    "drover.api": ("starlette",),
    "drover.cluster": ("starlette",),
}
NOT_PRODUCT = ("tests", "bench", "build")
# Modules that may read the wall clock, which can be set back: for the sign of life that another instance left
# in a file, for the age of a profile that was set aside, for process start times on systems that have no
# other clock for them, and to notice that a virtual machine was frozen.
WALL_CLOCK = (
    "clock.py",
    "http_protocol.py",
    "instance_lock.py",
    "kept_profiles.py",
    "portable.py",
    "profiles.py",
)
SOURCES = [
    path.relative_to(ROOT)
    for path in sorted(ROOT.rglob("*.py"))
    if not path.relative_to(ROOT).parts[0].startswith((".", *NOT_PRODUCT))
]


def module_of(source: Path) -> str:
    return ".".join(source.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(source): source for source in SOURCES}


@functools.cache
def tree_of(source: Path) -> tuple[ast.AST, ...]:
    """Return every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse((ROOT / source).read_bytes())))


@functools.cache
def imports_of(source: Path) -> frozenset[str]:
    """Return the full names of the modules that a file imports, at the top or in a function."""
    return frozenset(_imports_of(source))


def _imports_of(source: Path) -> Iterator[str]:
    for node in tree_of(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = names.intersection(MODULES)
            yield from submodules or {node.module}


def libraries_of(source: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(source)}


def layer_of(module: str) -> str | None:
    prefixes = [prefix for prefix in HEIGHT if module == prefix or module.startswith(f"{prefix}.")]
    return max(prefixes, key=len, default=None)


def height_of(module: str) -> float:
    layer = layer_of(module)
    return float("-inf") if layer is None else HEIGHT[layer]


def reachable_from(module: str) -> set[str]:
    """Return every name that a module imports, directly or through other modules of the project."""
    found: set[str] = set()
    todo = [module]
    while todo:
        for name in imports_of(MODULES[todo.pop()]) - found:
            found.add(name)
            if name in MODULES:
                todo.append(name)
    return found


def asks_the_wall_clock(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "time.time"


def test_every_module_is_in_a_layer() -> None:
    assert MODULES
    assert [module for module in MODULES if layer_of(module) is None and module != "drover"] == []


def test_imports_go_down_or_stay_in_their_layer() -> None:
    upwards = [
        (module, name)
        for module, source in MODULES.items()
        for name in imports_of(source)
        if height_of(name) > height_of(module)
    ]
    assert upwards == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_package(library: str) -> None:
    importing = [source for source in SOURCES if library in libraries_of(source)]
    assert importing
    assert [str(source) for source in importing if not source.as_posix().startswith(HOMES[library])] == []


def test_no_layer_reaches_a_forbidden_library_transitively() -> None:
    reached = [
        (module, library)
        for module in MODULES
        for library in UNREACHABLE.get(layer_of(module) or "", ())
        if library in {name.partition(".")[0] for name in reachable_from(module)}
    ]
    assert reached == []


def test_packages_do_not_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for module, source in MODULES.items():
        layer = layer_of(module)
        others = {layer_of(name) for name in imports_of(source)} - {layer, None}
        graph.setdefault(layer or "", set()).update(other for other in others if other)
    TopologicalSorter(graph).prepare()


def test_no_duration_is_measured_on_a_clock_that_can_be_set_back() -> None:
    asking = [source for source in SOURCES if any(map(asks_the_wall_clock, tree_of(source)))]
    assert sorted(source.name for source in asking) == sorted(WALL_CLOCK)
