"""Thousands of unusual requests, and a check of every answer against the contract.

    python bench/fuzz_http.py [requests of a kind] [seed]

Starts the service in a new data folder, sends what its document allows and forbids, odd paths and odd bodies,
and prints the statuses received. Ends with an error at the first answer that violates the contract, and if a
request hangs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.acceptance.fuzzing import SESSION_ID, STARTS_BROWSERS, Fuzzer
from tests.acceptance.service import running

REQUESTS = 1000
SESSIONS = 15
"""The number of valid requests that start a browser each."""


def report(name: str, fuzzer: Fuzzer, send: Callable[[], None]) -> None:
    """Send the requests, and print the statuses."""
    before, begun = dict(fuzzer.statuses), time.perf_counter()
    send()
    came = {status: number - before.get(status, 0) for status, number in sorted(fuzzer.statuses.items())}
    print(f"{name:<58} {time.perf_counter() - begun:6.1f} s  {came}", flush=True)


def main() -> int:
    """Send all kinds of requests."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    number = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    print(f"seed {number}")
    with running() as service:
        service.create(session_id=SESSION_ID, idle_timeout=0, lease={"ttl": 3600})
        fuzzer = Fuzzer(service, requests, number)
        report("odd paths", fuzzer, fuzzer.send_odd_paths)
        report("odd bodies", fuzzer, fuzzer.send_odd_bodies)
        for right in (False, True):
            for operation in fuzzer.operations():
                starts = (operation.method.upper(), operation.path) in STARTS_BROWSERS
                few = starts and right
                one = Fuzzer(service, SESSIONS if few else max(1, requests // 10), number)
                name = f"{'allowed' if right else 'forbidden'}: {operation.method.upper()} {operation.path}"
                report(name, one, partial(one.send_documented, operation, right=right))
        fuzzer.finish()
    print("every answer followed the contract")
    return 0


if __name__ == "__main__":
    sys.exit(main())
