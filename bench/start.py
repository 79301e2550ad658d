"""Duration of a start, from `python app.py` to the first 200 of `GET /health`.

    python bench/start.py [rounds]

The CPU time is shown as well: most of a start is imports, and other programs change that less. Linux.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from bench.rows import Row, report
from tests.acceptance.service import Service
from tests.machine import remove, short_folder

ROUNDS: Final = 11
POLL_S: Final = 0.002


def one_start() -> tuple[float, float]:
    """Start the service in a new folder; return the seconds until it answered, and its CPU time by then."""
    folder = short_folder()
    service = Service(folder)
    try:
        begun = time.perf_counter()
        service.launch()
        while not answers(service.port):
            time.sleep(POLL_S)
        took = time.perf_counter() - begun
        used = sum(psutil.Process(service.process.pid).cpu_times()[:2])
        service.finish()
    finally:
        service.reap()
        remove(folder)
    return took, used


def answers(port: int) -> bool:
    """Return whether the service answers with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError):
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    return False


def rows(rounds: int) -> Iterator[Row]:
    """Measure some starts."""
    one_start()
    took, used = zip(*(one_start() for _ in range(rounds)), strict=True)
    yield Row("Start of the service to the first 200, median", statistics.median(took), 0.6, "s")
    yield Row("CPU time of a start, median", statistics.median(used), 0.6, "s")


if __name__ == "__main__":
    sys.exit(report("start", rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)))
