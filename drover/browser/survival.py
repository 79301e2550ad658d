"""Whether a browser still lives: the proof that a recovery needs before it replaces one.

"I could not ask" is not "it is gone". `BrowserGone` is the proof that it is gone, and every step of a
recovery that ends or replaces a browser takes one as an argument; only this module makes it. Whatever else
goes wrong is an error, and leaves the browser alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from drover.browser.health import PROBES_UNTIL_HUNG, Cause, Probe, ProbeResult, browser_guid, probe
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable
from drover.processes.table import Liveness, liveness

CLOSING_S = 2.0
"""How long a browser may take to end after its last window was closed."""
TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class BrowserLives:
    """Its process has the same start time, and the browser that was started answers."""


@dataclass(frozen=True, slots=True)
class BrowserGone:
    """The proof that a browser has ended, was replaced by another one, or is hung."""

    reason: str


@dataclass(frozen=True, slots=True)
class BrowserSilent:
    """Its process lives, but did not answer one probe; that is no proof yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotAsked:
    """The probe failed on this side, which says nothing about the browser."""

    reason: str


Verdict = BrowserLives | BrowserGone | BrowserSilent | NotAsked


def judge(process: Liveness, version: Probe, guid: str) -> Verdict:
    """Return what one look at a browser proves.

    Args:
        process: The state of the process with its pid and start time.
        version: The answer of its DevTools to `/json/version`.
        guid: The GUID that it had at its start.
    """
    if process in {Liveness.GONE, Liveness.DYING}:
        return BrowserGone("Chrome's process has ended")
    if process is Liveness.STOPPED:
        return BrowserGone("Chrome's process is stopped")
    if version.reply is ProbeResult.NOT_ASKED:
        return NotAsked(version.error)
    found = browser_guid(version.body) if version.reply is ProbeResult.ANSWERED else None
    if found == guid:
        return BrowserLives()
    if found is not None:
        return BrowserGone("another browser answers at its address")
    return BrowserSilent(version.error or "its answer is not Chrome's")


def examine(running: RunningBrowser, cause: Cause, timeout: float) -> BrowserLives | BrowserGone:
    """Return whether a browser lives; look as often as the proof needs.

    A browser that is silent is proven to be hung by as many probes as a health check needs. One that a
    health check has found hung gets one more probe: it may answer again.

    Args:
        timeout: Seconds that one probe waits.

    Raises:
        BrowserUnavailable: It could not be asked.
    """
    begun = time.monotonic()
    needed = 1 if cause is Cause.BROWSER_HUNG else PROBES_UNTIL_HUNG
    probes = 0
    while True:
        asked_at = time.monotonic()
        found = _look(running, timeout)
        if isinstance(found, NotAsked):
            raise BrowserUnavailable(f"Chrome could not be asked whether it lives: {found.reason}; retry")
        if isinstance(found, BrowserGone):
            return found
        if isinstance(found, BrowserLives):
            # Chrome ends with its last window, but not if that was closed over DevTools.
            if cause is not Cause.WINDOW_GONE or time.monotonic() - begun >= CLOSING_S:
                return found
            time.sleep(TICK_S)
            continue
        probes += 1
        if probes >= needed:
            return BrowserGone(f"Chrome's process lives, but has not answered {probes} probes")
        # A refused connection fails at once: the probes must cover as much time as silent ones.
        time.sleep(max(0.0, timeout - (time.monotonic() - asked_at)))


def _look(running: RunningBrowser, timeout: float) -> Verdict:
    process = liveness(running.browser)
    version = Probe()
    if process is Liveness.ALIVE:
        version = probe(f"http://{running.debugger_address}", "/json/version", timeout)
        # It may have ended while it was asked.
        process = liveness(running.browser)
    return judge(process, version, running.browser_guid)
