"""Health of a session: the facts are read first, then assessed by a pure function.

Busy is not dead: ChromeDriver answers `/status` and Chrome answers `/json/version` within
milliseconds while a page loads for a minute. So a session command that gets no answer means busy.
Dead or hung is concluded only from the processes, or from their silence over several probes.
"""

from __future__ import annotations

import errno
import http
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from drover.browser.page_targets import NO_SIGNALS, BrowserSignals
from drover.browser.running_browser import RunningBrowser
from drover.net import loopback_http
from drover.processes.table import Liveness, liveness

PROBES_UNTIL_HUNG = 3
_LOCAL_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""Connection errors that say nothing about the other end: no descriptor, port or memory is left here."""
MAX_ANSWER_BYTES = 64 * 1024
"""What `/status` and `/json/version` may have: they take less than 1 KiB."""
MAX_LIST_BYTES = 1024 * 1024
MAX_ADDRESS = 4096
"""Characters of a page's address that are kept."""
_MEMBER = re.compile(r'"(?P<name>\w+)":\s*"(?P<value>(?:[^"\\]|\\.)*)', re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
BUSY_PROBE_S = 0.25
"""Timeout of a command that ChromeDriver answers by itself in about 1 ms; it waits behind a running
command, so a timeout means that one is running."""


class HealthStatus(str, Enum):
    """A session's health, as shown to clients."""

    HEALTHY = "healthy"
    BUSY = "busy"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Cause(str, Enum):
    """Why a session needs a recovery."""

    DRIVER_GONE = "driver_gone"
    DRIVER_HUNG = "driver_hung"
    BROWSER_GONE = "browser_gone"
    BROWSER_HUNG = "browser_hung"
    TAB_CRASHED = "tab_crashed"
    WINDOW_GONE = "window_gone"
    NODE_GONE = "node_gone"
    RECYCLED = "recycled"
    """Nothing is wrong: an unused session got a new browser, as the settings ask."""


@dataclass(frozen=True, slots=True)
class Health:
    """The result of the last check of a session; `latency_ms` is the duration of the check."""

    status: HealthStatus = HealthStatus.UNKNOWN
    reason: str | None = None
    checked_at: datetime | None = None
    latency_ms: int | None = None


class ProbeResult(Enum):
    """The outcome of a probe of one endpoint.

    Refused means that no process listens. Cut off means little: the kernel also resets connections to a
    living process, if more arrive at once than its backlog holds (ChromeDriver's is 5, Chrome's 10).
    """

    ANSWERED = "answered"
    REFUSED = "refused"
    CUT_OFF = "cut off"
    SILENT = "silent"
    NOT_ASKED = "not asked"


_ENDED = {Liveness.GONE, Liveness.DYING}
_WITHOUT_ANSWER = {ProbeResult.SILENT, ProbeResult.CUT_OFF}


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe: its outcome, the HTTP status and decoded JSON if it was answered, else the error."""

    reply: ProbeResult = ProbeResult.NOT_ASKED
    status: int = 0
    body: object = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that a browser has open."""

    target_id: str
    url: str
    title: str = field(default="", compare=False)


ListPages = Callable[[RunningBrowser, float], tuple[Page, ...]]


@dataclass(frozen=True, slots=True)
class HealthReadings:
    """All facts read in one check of a session; `taken_at` is in seconds of the monotonic clock."""

    taken_at: float
    driver: Liveness
    browser: Liveness
    seen: BrowserSignals = NO_SIGNALS
    driver_status: Probe = Probe()
    browser_version: Probe = Probe()
    session_command: Probe = Probe()
    pages: tuple[Page, ...] = ()

    @property
    def current_url(self) -> str | None:
        """The address of the page in front; None if it could not be read."""
        return (self.pages[0].url or None) if self.pages else None


@dataclass(frozen=True, slots=True)
class Silence:
    """How many probes in a row got no byte, and when the first of them was sent (monotonic seconds).

    `of` is the cause if the silence lasts; only an answer from that process ends the silence.
    """

    probes: int = 0
    since: float = 0.0
    of: Cause | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """The result of an assessment: a status, and the cause if a recovery is needed.

    Not `settled` means silent, but not for long enough to be hung: probe again, and pass `silence` on.
    """

    status: HealthStatus
    reason: str | None = None
    cause: Cause | None = None
    silence: Silence = Silence()

    @property
    def settled(self) -> bool:
        """Whether the assessment is final."""
        return self.status is not HealthStatus.UNKNOWN


def read(
    running: RunningBrowser, seen: BrowserSignals, timeout: float, list_pages: ListPages
) -> HealthReadings:
    """Read the state of a session's processes and endpoints; takes at most about twice `timeout` seconds.

    The endpoints are probed only if both processes are alive and not stopped.

    Args:
        seen: The signals that its DevTools connection has received.
        timeout: Seconds per probe.
        list_pages: Returns the open pages within so many seconds, the one in front first.
    """
    taken_at = time.monotonic()
    driver, browser = liveness(running.driver), liveness(running.browser)
    if driver is not Liveness.ALIVE or browser is not Liveness.ALIVE:
        return HealthReadings(taken_at, driver, browser, seen)
    version = probe(f"http://{running.debugger_address}", "/json/version", timeout)
    if version.reply is not ProbeResult.ANSWERED:
        status = probe(running.driver_url, "/status", timeout)
        return HealthReadings(taken_at, driver, browser, seen, status, version)
    command = probe(running.driver_url, f"/session/{running.driver_session_id}/timeouts", BUSY_PROBE_S)
    # A ChromeDriver that answers a command need not be asked whether it answers.
    is_answered = command.reply is ProbeResult.ANSWERED
    status = Probe() if is_answered else probe(running.driver_url, "/status", timeout)
    is_answered |= status.reply is ProbeResult.ANSWERED
    found = list_pages(running, timeout) if is_answered else ()
    return HealthReadings(taken_at, driver, browser, seen, status, version, command, found)


def assess(readings: HealthReadings, running: RunningBrowser, silence: Silence, timeout: float) -> Assessment:
    """Assess the readings of one check, given the silence before it.

    If both ChromeDriver and the browser are at fault, the browser's fault counts: it needs more to recover.
    """
    return (
        _judge_windows(readings)
        or _judge_processes(readings, running)
        or _judge_refusals(readings, running)
        or _judge_silence(readings, silence, timeout)
        or _judge_pages(readings)
        or _judge_session(readings)
    )


def pages(running: RunningBrowser, timeout: float) -> tuple[Page, ...]:
    """Return the open pages, the one in front first; empty if Chrome does not answer.

    Of a list that is longer than `MAX_LIST_BYTES` the pages at its beginning are returned.
    """
    try:
        answer = loopback_http.get(
            f"http://{running.debugger_address}", "/json/list", timeout, MAX_LIST_BYTES
        )
    except (OSError, ValueError):
        return ()
    return listed_pages(answer.body.decode("utf-8", "replace"))


def listed_pages(text: str) -> tuple[Page, ...]:
    """Return the pages in a `/json/list` answer; Chrome lists the last activated one first.

    The text may be cut off anywhere, and an address may be megabytes long: 4 KiB of it are kept.
    """
    found: list[dict[str, str]] = []
    for member in _MEMBER.finditer(text):
        if member["name"] == "id":
            found.append({})
        if found:
            found[-1][member["name"]] = _decoded(member["value"])
    listed = [one for one in found if one.get("type") == "page" and "url" in one]
    return tuple(Page(one["id"], one["url"], one.get("title", "")) for one in listed)


def _decoded(value: str) -> str:
    """Return the text of a JSON string of which the end may be missing, cut to `MAX_ADDRESS` characters."""
    kept = _CUT_ESCAPE.sub("", value[:MAX_ADDRESS])
    try:
        return str(json.loads(f'"{kept}"'))
    except ValueError:
        return kept


def browser_guid(version: object) -> str | None:
    """Return the GUID in a `/json/version` answer's `webSocketDebuggerUrl`, which is new at each start."""
    address = version.get("webSocketDebuggerUrl") if isinstance(version, dict) else None
    return address.rsplit("/", 1)[-1] if isinstance(address, str) else None


def probe(address: str, path: str, timeout: float, max_bytes: int = MAX_ANSWER_BYTES) -> Probe:
    """Send one GET request over a new connection; `address` may end with a path.

    An answer longer than `max_bytes` counts as no answer of ChromeDriver's or Chrome's.
    """
    try:
        answer = loopback_http.get(address, path, timeout, max_bytes)
        if answer.complete:
            return Probe(ProbeResult.ANSWERED, answer.status, json.loads(answer.body))
        return Probe(ProbeResult.REFUSED, error=f"the answer is longer than {max_bytes} bytes")
    except TimeoutError:
        return Probe(ProbeResult.SILENT, error=f"no answer within {timeout:g} s")
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
        return Probe(ProbeResult.CUT_OFF, error=str(error))
    except (OSError, ValueError) as error:
        is_local = isinstance(error, OSError) and error.errno in _LOCAL_ERRORS
        result = ProbeResult.NOT_ASKED if is_local else ProbeResult.REFUSED
        return Probe(result, error=str(error) or type(error).__name__)


def _judge_windows(readings: HealthReadings) -> Assessment | None:
    # ChromeDriver ends the browser with its last window; the browser's end is only a consequence then.
    if readings.seen.no_page_left and readings.browser is not Liveness.STOPPED:
        return _dead(Cause.WINDOW_GONE, "its last window was closed")
    return None


def _judge_pages(readings: HealthReadings) -> Assessment | None:
    if readings.seen.crashed_pages:
        return _dead(Cause.TAB_CRASHED, f"{len(readings.seen.crashed_pages)} of its tabs crashed")
    return None


def _judge_processes(readings: HealthReadings, running: RunningBrowser) -> Assessment | None:
    chrome, chromedriver = f"Chrome (PID {running.browser.pid})", f"ChromeDriver (PID {running.driver.pid})"
    if readings.browser in _ENDED:
        return _dead(Cause.BROWSER_GONE, f"{chrome} is gone")
    if readings.browser is Liveness.STOPPED:
        return _dead(Cause.BROWSER_HUNG, f"{chrome} is stopped")
    if readings.driver in _ENDED:
        return _dead(Cause.DRIVER_GONE, f"{chromedriver} is gone")
    if readings.driver is Liveness.STOPPED:
        return _dead(Cause.DRIVER_HUNG, f"{chromedriver} is stopped")
    return None


def _judge_refusals(readings: HealthReadings, running: RunningBrowser) -> Assessment | None:
    version, status = readings.browser_version, readings.driver_status
    if version.reply is ProbeResult.REFUSED:
        return _dead(Cause.BROWSER_GONE, version.error)
    if version.reply is ProbeResult.ANSWERED and browser_guid(version.body) != running.browser_guid:
        return _dead(Cause.BROWSER_GONE, "another browser answers at its address")
    if status.reply is ProbeResult.REFUSED:
        return _dead(Cause.DRIVER_GONE, status.error)
    if readings.session_command.reply is ProbeResult.REFUSED:
        return _dead(Cause.DRIVER_GONE, readings.session_command.error)
    if readings.session_command.status == http.HTTPStatus.NOT_FOUND:
        return _dead(Cause.DRIVER_GONE, "ChromeDriver no longer knows the session")
    return None


def _judge_silence(readings: HealthReadings, silence: Silence, timeout: float) -> Assessment | None:
    browser_silent = readings.browser_version.reply in _WITHOUT_ANSWER
    driver_silent = readings.driver_status.reply in _WITHOUT_ANSWER
    # A running command may delay the next one for a minute, but never cuts a connection off.
    if not browser_silent and not driver_silent and readings.session_command.reply is not ProbeResult.CUT_OFF:
        return None
    program, cause = ("Chrome", Cause.BROWSER_HUNG) if browser_silent else ("ChromeDriver", Cause.DRIVER_HUNG)
    before = silence if silence.of is cause else Silence(since=readings.taken_at)
    now = Silence(before.probes + 1, before.since, cause)
    silent_for = readings.taken_at + timeout - now.since
    if now.probes >= PROBES_UNTIL_HUNG and silent_for >= PROBES_UNTIL_HUNG * timeout:
        return _dead(cause, f"{program} has not answered {now.probes} probes over {silent_for:.0f} s")
    return Assessment(HealthStatus.UNKNOWN, f"{program} does not answer", silence=now)


def _judge_session(readings: HealthReadings) -> Assessment:
    if readings.session_command.reply is ProbeResult.SILENT:
        return Assessment(HealthStatus.BUSY, "a command is running")
    return Assessment(HealthStatus.HEALTHY)


def _dead(cause: Cause, reason: str) -> Assessment:
    return Assessment(HealthStatus.DEAD, reason, cause)
