"""Smoothness of the dashboard with a hundred sessions and a thousand processes.

    python bench/dashboard.py [seconds] [picture.png]

Serves the real page over generated sessions and processes, a tenth of which changes at every read, opens it
in a browser, and counts late frames and long tasks. It prints the numbers and checks no bound.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvicorn
from playwright.sync_api import Page, sync_playwright

from drover.attach.event_stream import EventStream, StateProviders
from drover.attach.router import Route, Router
from drover.browser.binaries import resolve
from drover.core.logs import rfc3339
from drover.core.settings import Settings
from drover.net import access
from drover.net.request_threads import RequestThreads
from drover.server.service import Drover
from tests.machine import free_port

SESSIONS = 100
TREES = 84
HELPERS = 11
SLOW_FRAME_MS = 50.0
MEASURE = """
seconds => new Promise(done => {
  const frames = [], tasks = [];
  new PerformanceObserver(list => list.getEntries().forEach(entry => tasks.push(entry.duration)))
    .observe({type: "longtask"});
  const end = performance.now() + seconds * 1000;
  let before = performance.now();
  const step = now => {
    frames.push(now - before);
    before = now;
    if (now < end) requestAnimationFrame(step);
    else done({frames, tasks, heap: performance.memory.usedJSHeapSize / 1e6,
               nodes: document.querySelectorAll("*").length});
  };
  requestAnimationFrame(step);
})
"""


class GeneratedState:
    """Generated sessions and processes, a tenth of which changes at every read."""

    def __init__(self) -> None:
        self._dice = random.Random(7)  # noqa: S311 - nothing is to be kept secret
        self._now = datetime.now(timezone.utc)
        self._sessions = [self._session(number) for number in range(SESSIONS)]
        self._processes = [row for tree in range(TREES) for row in self._tree(tree)]

    def sessions(self) -> list[dict[str, Any]]:
        """Return all sessions; a tenth has just been used."""
        for place in self._dice.sample(range(SESSIONS), SESSIONS // 10):
            memory = self._dice.uniform(200, 900)
            self._sessions[place] |= {"last_used": rfc3339(datetime.now(timezone.utc)), "memory_mb": memory}
            self._sessions[place] = dict(self._sessions[place])
        return list(self._sessions)

    def processes(self) -> list[dict[str, Any]]:
        """Return all processes; the memory of a tenth has changed."""
        for place in self._dice.sample(range(len(self._processes)), len(self._processes) // 10):
            self._processes[place] = {**self._processes[place], "memory_mb": self._dice.uniform(20, 300)}
        return list(self._processes)

    def capacity(self) -> dict[str, Any]:
        """Return the capacity of a nearly full machine."""
        used = 10 * self._dice.randrange(2400, 2500)
        full = {"active_sessions": SESSIONS, "max_sessions": 120, "waiting": 0, "warm": 2}
        return full | {
            "memory_used_mb": used,
            "memory_total_mb": 32000,
            "stopping": False,
            "unavailable": None,
        }

    def _session(self, number: int) -> dict[str, Any]:
        dead = number % 50 == 3
        return {
            "session_id": f"session_{number:012x}",
            "key": f"account-{number}" if number % 2 else None,
            "state": "recovering" if number % 33 == 5 else "starting",
            "in_use": number % 3 == 0,
            "created_at": rfc3339(self._now - timedelta(minutes=7 * number)),
            "last_used": rfc3339(self._now - timedelta(seconds=11 * number)),
            "idle_timeout": 1800,
            "keep_alive": None,
            "lease": {"holder": f"job {number}", "expires_at": rfc3339(self._now)}
            if number % 3 == 0
            else None,
            "recoveries": number % 4,
            "last_recovery": None,
            "health": {
                "status": "dead" if dead else "healthy",
                "reason": "ChromeDriver (PID 4711) does not run any more" if dead else None,
                "checked_at": rfc3339(self._now),
                "latency_ms": 3,
            },
            "current_url": f"https://shop.example/orders/{number}?<script>alert({number})</script>",
            "memory_mb": None,
            "driver": None,
            "browser": None,
            "webdriver_url": None,
            "cdp_url": None,
        } | ({"state": "ready"} if dead else {})

    def _tree(self, number: int) -> list[dict[str, Any]]:
        first = 1000 + 20 * number
        verdict = "orphan" if number % 20 == 4 else "foreign" if number % 20 == 9 else "protected"
        session_id = f"session_{number:012x}" if verdict == "protected" else None
        roles = ["driver", "browser", "zygote", "gpu", "utility", *["renderer"] * (HELPERS - 4)]
        return [
            {
                "pid": first + place,
                "ppid": 1 if place == 0 else first + min(place - 1, 1),
                "name": "chromedriver" if role == "driver" else "chromium",
                "role": role,
                "verdict": verdict,
                "reason": f"generated for tree {number}",
                "session_id": session_id,
                "memory_mb": 80.0,
                "age_s": 300.0,
            }
            for place, role in enumerate(roles)
        ]


def main() -> None:
    """Serve, open the page, measure, and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    state, port = GeneratedState(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        server = _serve(state, port, Path(folder))
        with sync_playwright() as playwright:
            chrome = str(resolve(None, None).chrome)
            browser = playwright.chromium.launch(executable_path=chrome, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator(f".card:nth-child({SESSIONS})").wait_for(state="attached")
            _print("idle, showing the cards", page.evaluate(MEASURE, seconds))
            page.evaluate("document.querySelectorAll('.tree').forEach(tree => tree.open = true)")
            page.evaluate("document.getElementById('processes').scrollIntoView()")
            _print("every tree open", page.evaluate(MEASURE, seconds))
            _scroll(page)
            _print("scrolling through everything", page.evaluate(MEASURE, seconds))
            if len(sys.argv) > 2:
                page.screenshot(path=sys.argv[2])
            browser.close()
        server.should_exit = True


def _serve(state: GeneratedState, port: int, folder: Path) -> uvicorn.Server:
    settings = Settings(data_dir=folder, port=port)
    drover = Drover(settings)
    threads = RequestThreads.for_sessions(settings.max_sessions)
    stream = EventStream(StateProviders(state.sessions, state.processes, state.capacity), threads.reading)
    page = drover.endpoints.rest(drover.endpoints.services())
    access_policy = access.access_policy("127.0.0.1", port, (), None)
    router = Router([Route("http", re.compile("/events"), stream.serve)], access_policy, page)
    server = uvicorn.Server(uvicorn.Config(router, port=port, log_level="warning", lifespan="off"))
    threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return server


def _scroll(page: Page) -> None:
    page.evaluate(
        """() => { scrollTo(0, 0); const step = () => { scrollBy(0, 40); requestAnimationFrame(step) };
                   requestAnimationFrame(step) }"""
    )


def _print(what: str, measured: dict[str, Any]) -> None:
    frames = sorted(measured["frames"])
    late = list(itertools.filterfalse(lambda frame: frame < SLOW_FRAME_MS, frames))
    print(
        f"{what}: {len(frames)} frames, median {statistics.median(frames):.1f} ms, "
        f"99 % below {frames[int(0.99 * len(frames))]:.1f} ms, longest {frames[-1]:.0f} ms, "
        f"{len(late)} above {SLOW_FRAME_MS:.0f} ms; {len(measured['tasks'])} long tasks "
        f"(longest {max(measured['tasks'], default=0):.0f} ms); "
        f"{measured['nodes']} elements, {measured['heap']:.0f} MB of heap"
    )


if __name__ == "__main__":
    main()
