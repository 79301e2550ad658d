"""Every shape in which a ChromeDriver runs in a container, and what an automatic cleanup does with it.

    sudo python bench/container_shapes.py [--reasons]

Each shape is made of real processes in a PID namespace of its own: the first process, a program that starts a
ChromeDriver, and whether that program still runs. The tables are those of docs/cleanup.md. The exit status is
0 if every ChromeDriver was ended or spared as it has to be. Linux, as root; needs tini, dumb-init, s6,
supervisor, node and java.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.acceptance.container_shapes import SPARED, STARTERS, Shape, run_starter, shapes, tables
from tests.acceptance.containers import can_have_containers
from tests.machine import remove, run_folder, short_folder


def main() -> int:
    """Run all shapes, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reasons", action="store_true", help="print the reason for each shape, too")
    options = parser.parse_args()
    if not can_have_containers():
        parser.error("needs Linux, root, unshare and nsenter")
    found: dict[Shape, str] = {}
    started: dict[str, str] = {}
    wrong = 0

    def note(name: str, expected: str, seen: tuple[str, str]) -> str:
        nonlocal wrong
        wrong += seen[0] != expected
        if options.reasons or seen[0] != expected:
            sys.stderr.write(f"{'ok   ' if seen[0] == expected else 'WRONG'} {name}: {seen[0]}: {seen[1]}\n")
        return seen[0]

    try:
        for shape in shapes():
            found[shape] = note(str(shape), shape.expected, shape.run(short_folder()))
        for name in STARTERS:
            started[name] = note(name, SPARED, run_starter(name, short_folder()))
    finally:
        remove(run_folder())
    sys.stdout.write(tables(found, started))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
