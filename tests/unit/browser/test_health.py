"""The assessment of a session: dead, hung, busy or healthy."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser import health
from drover.browser.health import (
    MAX_ADDRESS,
    Assessment,
    Cause,
    HealthReadings,
    HealthStatus,
    Page,
    Probe,
    ProbeResult,
    Silence,
    assess,
    browser_guid,
    listed_pages,
    probe,
    read,
)
from drover.browser.page_targets import BrowserSignals
from drover.browser.running_browser import RunningBrowser
from drover.net import loopback_http
from drover.net.loopback_http import Answer
from drover.processes.table import Liveness, ProcessIdentity
from tests.unit.examples import RUNNING

TIMEOUT = 2.0
ALIVE, STOPPED, DYING, GONE = Liveness
VERSION = Probe(
    ProbeResult.ANSWERED,
    200,
    {"webSocketDebuggerUrl": f"ws://127.0.0.1:39999/devtools/browser/{RUNNING.browser_guid}"},
)
STATUS = Probe(ProbeResult.ANSWERED, 200, {"value": {"ready": True}})
COMMAND = Probe(ProbeResult.ANSWERED, 200, {"value": {"implicit": 0}})
PAGES = (Page("P1", "http://example.com/"),)
REFUSED = Probe(ProbeResult.REFUSED, error="[Errno 111] Connection refused")
SILENT = Probe(ProbeResult.SILENT, error="no answer within 2 s")
CUT_OFF = Probe(ProbeResult.CUT_OFF, error="[Errno 104] Connection reset by peer")
NOT_ASKED = Probe()
OTHER = Probe(
    ProbeResult.ANSWERED, 200, {"webSocketDebuggerUrl": "ws://127.0.0.1:39999/devtools/browser/other"}
)
UNKNOWN_SESSION = Probe(ProbeResult.ANSWERED, 404, {"value": {"error": "invalid session id"}})
WELL = HealthReadings(100.0, ALIVE, ALIVE, BrowserSignals(), STATUS, VERSION, COMMAND, PAGES)
CRASHED = BrowserSignals(crashed_pages=("P1",))
NO_PAGE = BrowserSignals(no_page_left=True)


def readings_with(**changes: object) -> HealthReadings:
    return replace(WELL, **changes)  # type: ignore[arg-type]


def judge(readings: HealthReadings, silence: Silence = Silence()) -> Assessment:  # noqa: B008 - it is frozen
    return assess(readings, RUNNING, silence, TIMEOUT)


DEAD = [
    (readings_with(driver=GONE), Cause.DRIVER_GONE, "ChromeDriver (PID 4711) is gone"),
    (readings_with(driver=DYING), Cause.DRIVER_GONE, "ChromeDriver (PID 4711) is gone"),
    (readings_with(browser=DYING), Cause.BROWSER_GONE, "Chrome (PID 4720) is gone"),
    (readings_with(driver=STOPPED), Cause.DRIVER_HUNG, "ChromeDriver (PID 4711) is stopped"),
    (readings_with(browser=GONE), Cause.BROWSER_GONE, "Chrome (PID 4720) is gone"),
    (readings_with(browser=STOPPED), Cause.BROWSER_HUNG, "Chrome (PID 4720) is stopped"),
    (readings_with(driver_status=REFUSED), Cause.DRIVER_GONE, "[Errno 111] Connection refused"),
    (readings_with(browser_version=REFUSED), Cause.BROWSER_GONE, "[Errno 111] Connection refused"),
    (readings_with(browser_version=OTHER), Cause.BROWSER_GONE, "another browser answers at its address"),
    (
        readings_with(session_command=UNKNOWN_SESSION),
        Cause.DRIVER_GONE,
        "ChromeDriver no longer knows the session",
    ),
    (readings_with(seen=CRASHED), Cause.TAB_CRASHED, "1 of its tabs crashed"),
    (readings_with(seen=NO_PAGE), Cause.WINDOW_GONE, "its last window was closed"),
    (readings_with(session_command=REFUSED), Cause.DRIVER_GONE, "[Errno 111] Connection refused"),
]


@pytest.mark.parametrize(("readings", "cause", "reason"), DEAD)
def test_each_fault_has_its_cause_and_reason(readings: HealthReadings, cause: Cause, reason: str) -> None:
    found = judge(readings)
    assert (found.status, found.cause, found.reason) == (HealthStatus.DEAD, cause, reason)
    assert found.settled


@pytest.mark.parametrize("driver", [GONE, STOPPED])
@pytest.mark.parametrize(("browser", "cause"), [(GONE, Cause.BROWSER_GONE), (STOPPED, Cause.BROWSER_HUNG)])
def test_of_two_faults_the_browsers_takes_precedence(
    driver: Liveness, browser: Liveness, cause: Cause
) -> None:
    assert judge(readings_with(driver=driver, browser=browser)).cause is cause


def test_a_refusing_browser_takes_precedence_over_a_refusing_driver() -> None:
    assert judge(readings_with(driver_status=REFUSED, browser_version=REFUSED)).cause is Cause.BROWSER_GONE


def test_a_session_that_answers_everything_is_healthy() -> None:
    assert judge(WELL) == Assessment(HealthStatus.HEALTHY)


def test_the_list_of_pages_does_not_affect_the_assessment() -> None:
    assert judge(readings_with(pages=())).status is HealthStatus.HEALTHY


@pytest.mark.parametrize("changes", [{"browser": GONE}, {"driver": GONE}, {"browser_version": REFUSED}])
def test_a_browser_that_ended_with_its_last_window_is_not_a_crash(changes: dict[str, object]) -> None:
    assert judge(readings_with(seen=NO_PAGE, **changes)).cause is Cause.WINDOW_GONE


def test_a_stopped_browser_is_hung_even_without_windows() -> None:
    assert judge(readings_with(seen=NO_PAGE, browser=STOPPED)).cause is Cause.BROWSER_HUNG


@pytest.mark.parametrize("changes", [{"driver": GONE}, {"browser_version": REFUSED}])
def test_a_fault_of_a_process_takes_precedence_over_a_crashed_tab(changes: dict[str, object]) -> None:
    assert judge(readings_with(seen=CRASHED, **changes)).cause is not Cause.TAB_CRASHED


def test_a_crashed_tab_is_detected_while_a_command_runs() -> None:
    assert judge(readings_with(seen=CRASHED, session_command=SILENT)).cause is Cause.TAB_CRASHED


def test_a_command_without_an_answer_is_busy_after_any_number_of_probes() -> None:
    silence = Silence()
    for second in range(0, 600, 2):
        found = judge(readings_with(taken_at=float(second), session_command=SILENT), silence)
        assert (found.status, found.cause) == (HealthStatus.BUSY, None)
        silence = found.silence


@pytest.mark.parametrize(
    ("quiet", "cause"),
    [
        ({"driver_status": SILENT}, Cause.DRIVER_HUNG),
        ({"browser_version": SILENT}, Cause.BROWSER_HUNG),
        ({"driver_status": SILENT, "browser_version": SILENT}, Cause.BROWSER_HUNG),
        ({"driver_status": CUT_OFF}, Cause.DRIVER_HUNG),
        ({"session_command": CUT_OFF}, Cause.DRIVER_HUNG),
        ({"browser_version": CUT_OFF}, Cause.BROWSER_HUNG),
    ],
)
def test_silence_is_hung_after_three_probes_over_three_timeouts(
    quiet: dict[str, object], cause: Cause
) -> None:
    first = judge(readings_with(taken_at=100.0, **quiet))
    second = judge(readings_with(taken_at=102.0, **quiet), first.silence)
    third = judge(readings_with(taken_at=104.0, **quiet), second.silence)
    assert not first.settled
    assert not second.settled
    assert (third.status, third.cause) == (HealthStatus.DEAD, cause)
    assert "3 probes over 6 s" in (third.reason or "")


def test_three_probes_in_a_short_time_are_not_yet_hung() -> None:
    silence = Silence()
    for moment in (100.0, 100.1, 100.2):
        found = judge(readings_with(taken_at=moment, driver_status=SILENT), silence)
        assert found.status is HealthStatus.UNKNOWN
        silence = found.silence
    assert judge(readings_with(taken_at=104.0, driver_status=SILENT), silence).cause is Cause.DRIVER_HUNG


def test_two_probes_over_a_long_time_are_not_yet_hung() -> None:
    first = judge(readings_with(taken_at=100.0, driver_status=SILENT))
    assert not judge(readings_with(taken_at=200.0, driver_status=SILENT), first.silence).settled


def test_an_answer_ends_the_silence() -> None:
    silence = Silence()
    for moment in (100.0, 102.0):
        silence = judge(readings_with(taken_at=moment, driver_status=SILENT), silence).silence
    silence = judge(readings_with(taken_at=103.0), silence).silence
    assert silence == Silence()
    assert not judge(readings_with(taken_at=104.0, driver_status=SILENT), silence).settled


def test_the_silence_of_one_process_does_not_count_for_the_other() -> None:
    silence = Silence()
    for moment, quiet in (
        (100.0, {"browser_version": SILENT}),
        (102.0, {"driver_status": SILENT}),
        (104.0, {"browser_version": SILENT}),
    ):
        found = judge(readings_with(taken_at=moment, **quiet), silence)
        assert not found.settled
        silence = found.silence


def test_a_fault_is_detected_immediately_during_a_silence() -> None:
    first = judge(readings_with(driver_status=SILENT))
    assert judge(readings_with(driver=GONE), first.silence).cause is Cause.DRIVER_GONE


def test_a_local_error_of_a_probe_does_not_mean_dead() -> None:
    found = judge(
        readings_with(driver_status=NOT_ASKED, browser_version=NOT_ASKED, session_command=NOT_ASKED)
    )
    assert found.status is not HealthStatus.DEAD


class Endpoints:
    """Fake endpoints that answer probes from a table, and record which were probed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, readings: HealthReadings) -> None:
        self.asked: list[tuple[str, float]] = []
        self._readings = readings
        monkeypatch.setattr(health, "probe", self._probe)
        monkeypatch.setattr(health, "pages", self._pages)
        monkeypatch.setattr(health, "liveness", self._liveness)

    def _probe(self, address: str, path: str, timeout: float) -> Probe:
        self.asked.append((path, timeout))
        return {
            "/json/version": self._readings.browser_version,
            "/status": self._readings.driver_status,
        }.get(path, self._readings.session_command)

    def _pages(self, _running: RunningBrowser, timeout: float) -> tuple[Page, ...]:
        self.asked.append(("/json/list", timeout))
        return self._readings.pages

    def _liveness(self, identity: ProcessIdentity) -> Liveness:
        return self._readings.driver if identity == RUNNING.driver else self._readings.browser


def test_a_living_session_gets_three_probes_each_with_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints(monkeypatch, WELL)
    found = read(RUNNING, BrowserSignals(), TIMEOUT, health.pages)
    assert replace(found, taken_at=WELL.taken_at, driver_status=WELL.driver_status) == WELL
    assert judge(found).status is HealthStatus.HEALTHY
    assert endpoints.asked == [
        ("/json/version", TIMEOUT),
        ("/session/d1/timeouts", health.BUSY_PROBE_S),
        ("/json/list", TIMEOUT),
    ]


def test_a_chromedriver_that_answers_no_command_is_asked_for_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoints = Endpoints(monkeypatch, readings_with(session_command=SILENT))
    found = read(RUNNING, BrowserSignals(), TIMEOUT, health.pages)
    assert judge(found).status is HealthStatus.BUSY
    assert found.pages == WELL.pages
    assert [path for path, _ in endpoints.asked] == [
        "/json/version",
        "/session/d1/timeouts",
        "/status",
        "/json/list",
    ]


@pytest.mark.parametrize("changes", [{"driver": GONE}, {"browser": STOPPED}])
def test_endpoints_are_not_probed_if_a_process_is_gone_or_stopped(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    endpoints = Endpoints(monkeypatch, readings_with(**changes))
    assert judge(read(RUNNING, BrowserSignals(), TIMEOUT, health.pages)).cause is not None
    assert endpoints.asked == []


def test_no_command_is_sent_if_the_browser_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints(monkeypatch, readings_with(browser_version=SILENT))
    read(RUNNING, BrowserSignals(), TIMEOUT, health.pages)
    assert [path for path, _ in endpoints.asked] == ["/json/version", "/status"]


def test_no_pages_are_asked_for_if_chromedriver_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints(monkeypatch, readings_with(driver_status=SILENT, session_command=SILENT))
    read(RUNNING, BrowserSignals(), TIMEOUT, health.pages)
    assert [path for path, _ in endpoints.asked] == ["/json/version", "/session/d1/timeouts", "/status"]


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), ProbeResult.REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), ProbeResult.CUT_OFF),
        (ConnectionAbortedError(errno.ECONNABORTED, "aborted"), ProbeResult.CUT_OFF),
        (ValueError("no JSON"), ProbeResult.REFUSED),
        (TimeoutError("timed out"), ProbeResult.SILENT),
        (OSError(errno.EMFILE, "Too many open files"), ProbeResult.NOT_ASKED),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), ProbeResult.NOT_ASKED),
    ],
)
def test_a_probe_distinguishes_refusal_silence_and_local_errors(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reply: ProbeResult
) -> None:
    def fail(_address: str, _path: str, _timeout: float, _max_bytes: int) -> Answer:
        raise error

    monkeypatch.setattr(loopback_http, "get", fail)
    found = probe("http://127.0.0.1:1", "/status", TIMEOUT)
    assert found.reply is reply
    assert found.error


@pytest.mark.parametrize(
    ("version", "guid"),
    [
        ({"webSocketDebuggerUrl": "ws://127.0.0.1:1/devtools/browser/abc"}, "abc"),
        ({"webSocketDebuggerUrl": 1}, None),
        ({}, None),
        (None, None),
        ("text", None),
    ],
)
def test_a_browser_is_identified_by_the_guid_in_its_version(version: object, guid: str | None) -> None:
    assert browser_guid(version) == guid


PAGE_P = {"id": "P", "title": "t", "type": "page", "url": "u"}
PAGE_Q = {"id": "Q", "title": 'a "id": "x"', "type": "page", "url": "v"}


@pytest.mark.parametrize(
    ("listed", "pages"),
    [
        ([PAGE_P, PAGE_Q], (Page("P", "u"), Page("Q", "v"))),
        ([{"id": "W", "type": "service_worker", "url": "w"}, PAGE_P], (Page("P", "u"),)),
        ([PAGE_P | {"url": "http://h/\u00e4\U0001f600"}], (Page("P", "http://h/\u00e4\U0001f600"),)),
        ([], ()),
        (["text"], ()),
        (None, ()),
    ],
)
def test_only_pages_are_listed_in_chromes_order(listed: object, pages: tuple[Page, ...]) -> None:
    assert listed_pages(json.dumps(listed, indent=3)) == pages


def test_of_an_address_of_megabytes_the_beginning_is_kept_wherever_the_list_is_cut_off() -> None:
    text = json.dumps([PAGE_P | {"url": "data:," + "\u00e4" * 1_000_000}, PAGE_Q])
    for end in (500_000, 4096 + 61, 4096 + 62, 4096 + 63, len(text)):
        found = listed_pages(text[:end])
        assert found[0].target_id == "P"
        assert found[0].url.startswith("data:,\u00e4\u00e4")
        assert len(found[0].url) <= MAX_ADDRESS
    assert listed_pages(text)[1] == Page("Q", "v")


@given(st.text(), st.text())
def test_a_title_or_address_never_passes_for_another_field(title: str, url: str) -> None:
    shown = PAGE_P | {"title": title, "url": url}
    (first, second) = listed_pages(json.dumps([shown, PAGE_Q]))
    assert (first.target_id, second) == ("P", Page("Q", "v"))


def test_the_current_address_is_that_of_the_page_in_front() -> None:
    assert WELL.current_url == "http://example.com/"
    assert readings_with(pages=()).current_url is None
    assert readings_with(pages=(Page("P1", ""),)).current_url is None
