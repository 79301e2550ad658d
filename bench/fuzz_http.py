"""Thousands of requests that nobody would write by hand, and whether each was answered as the contract says.

    python bench/fuzz_http.py [requests of a kind] [seed]

Starts the service in a data folder of its own, asks it what its document allows and forbids, odd paths and
odd bodies, and prints which statuses came. Ends with an error at the first answer that the contract does
not know, and where a request hangs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.acceptance.fuzzing import PREY, STARTS_BROWSERS, Fuzzer
from tests.acceptance.service import running

REQUESTS = 1000
SESSIONS = 15
"""As many that start a browser each, where they are right."""


def told(name: str, fuzzer: Fuzzer, ask: Callable[[], None]) -> None:
    """Ask, and print what came of it."""
    before, begun = dict(fuzzer.statuses), time.perf_counter()
    ask()
    came = {status: number - before.get(status, 0) for status, number in sorted(fuzzer.statuses.items())}
    print(f"{name:<58} {time.perf_counter() - begun:6.1f} s  {came}", flush=True)


def main() -> int:
    """Ask everything."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    number = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    print(f"seed {number}")
    with running() as service:
        service.create(session_id=PREY, idle_timeout=0, lease={"ttl": 3600})
        fuzzer = Fuzzer(service, requests, number)
        told("odd paths", fuzzer, fuzzer.ask_with_odd_paths)
        told("odd bodies", fuzzer, fuzzer.ask_with_odd_bodies)
        for right in (False, True):
            for operation in fuzzer.operations():
                starts = (operation.method.upper(), operation.path) in STARTS_BROWSERS
                few = starts and right
                one = Fuzzer(service, SESSIONS if few else max(1, requests // 10), number)
                name = f"{'allowed' if right else 'forbidden'}: {operation.method.upper()} {operation.path}"
                told(name, one, partial(one.ask_by_the_document, operation, right=right))
        fuzzer.finish()
    print("every answer was one that the contract knows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
