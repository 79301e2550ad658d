"""Random faults of ChromeDrivers, browsers, renderers, the service and the machine, and what they reveal."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import psutil

from bench.lasting_faults import LastingFault
from tests.acceptance.faults import browsers, drivers
from tests.acceptance.service import Service
from tests.machine import IS_WINE, PATIENCE, command_line

ANSWER_S: Final = 120.0 * PATIENCE
FAULT_EVERY_S: Final = (0.5, 4.0)
SERVICE_FAULT_ONE_IN: Final = 20
"""One in this many faults hits the service itself."""
LASTING_FAULT_ONE_IN: Final = 8
LASTING_S: Final = (3.0, 10.0)
STARTS_LEFT: Final = "ERROR: Stopped with something left: start of "


@dataclass
class Findings:
    """What was done and what went wrong; written by many threads."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    logged: Callable[[], Sequence[str]] = tuple
    """Returns what the service has logged so far."""
    log: Path | None = None
    """Receives what the service has logged, at each failure and at the end."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """Count an action."""
        with self._lock:
            self.done[what] += 1

    def fail(self, what: str) -> None:
        """Record a failure."""
        finding = f"{datetime.now(timezone.utc):%H:%M:%S} {what}"
        with self._lock:
            self.wrong.append(finding)
            self.write_log()
        print(f"WRONG  {finding}", flush=True)

    def write_log(self) -> None:
        """Write what the service has logged so far."""
        if self.log is not None:
            self.log.write_text("\n".join(self.logged()), encoding="utf-8")


class FaultInjector:
    """Injects random faults.

    Args:
        service: The service under test.
        chance: Chooses the fault and its victim.
        findings: Counts the faults.
        lasting: The faults that last, by name.
    """

    def __init__(
        self,
        service: Service,
        chance: random.Random,
        findings: Findings,
        lasting: Mapping[str, LastingFault],
    ) -> None:
        self._service = service
        self._chance = chance
        self._findings = findings
        self._lasting = lasting

    def run(self, seconds: float) -> None:
        """Inject faults for a number of seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._chance.uniform(*FAULT_EVERY_S))
            if self._chance.randrange(SERVICE_FAULT_ONE_IN) == 0:
                self._inject_service_fault()
            elif self._lasting and self._chance.randrange(LASTING_FAULT_ONE_IN) == 0:
                self._inject_lasting_fault()
            else:
                self._inject_fault()

    def _inject_lasting_fault(self) -> None:
        """Begin a fault, and inject others while it lasts, but none that ends the service."""
        name = self._chance.choice(sorted(self._lasting))
        end = time.monotonic() + self._chance.uniform(*LASTING_S)
        self._findings.count(f"fault: {name}")
        with self._lasting[name](self._service):
            while time.monotonic() < end:
                time.sleep(self._chance.uniform(*FAULT_EVERY_S))
                self._inject_fault()

    def _inject_service_fault(self) -> None:
        kind = self._chance.choice(("kill", "stop", "suspension"))
        if kind == "kill":
            self._service.kill()
            self._service.start(ANSWER_S)
        elif kind == "stop":
            since = self._service.mark()
            code = self._service.stop(timeout=ANSWER_S)
            messages = self._service.messages(since)
            # Under Wine a browser may start for longer than a stop waits; the next start ends it.
            starts_left = IS_WINE and any(message.startswith(STARTS_LEFT) for message in messages)
            if code != 0 or not ("INFO: Stopped" in messages or starts_left):
                self._findings.fail(f"the stop was not orderly: {code}, {messages[-5:]}")
            self._service.start(ANSWER_S)
        else:
            process = psutil.Process(self._service.process.pid)
            process.suspend()
            time.sleep(self._chance.uniform(*FAULT_EVERY_S))
            process.resume()
        self._findings.count(f"fault: {kind} of the service")

    def _inject_fault(self) -> None:
        kind = self._chance.choice(("ChromeDriver", "browser", "renderer"))
        victims = sorted(self._victims(kind))
        if not victims:
            return
        name, inject = self._chance.choice(
            (("kill", psutil.Process.kill), ("suspension", psutil.Process.suspend))
        )
        with contextlib.suppress(psutil.NoSuchProcess):
            inject(psutil.Process(self._chance.choice(victims)))
            self._findings.count(f"fault: {name} of a {kind}")

    def _victims(self, kind: str) -> set[int]:
        if kind == "ChromeDriver":
            return drivers(self._service)
        if kind == "browser":
            return browsers(self._service)
        return {one.pid for one in self._service.processes() if "--type=renderer" in command_line(one)}
