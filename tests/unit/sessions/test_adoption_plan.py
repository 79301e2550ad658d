"""The adoption plan for stored sessions at the start of the service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser.health import Cause, HealthReadings, Probe, ProbeResult
from drover.browser.page_targets import BrowserSignals
from drover.browser.running_browser import RunningBrowser
from drover.processes.folders import FolderId
from drover.processes.session_mark import SessionMark
from drover.processes.table import Liveness, ProcessIdentity
from drover.sessions.persistence.adoption_plan import Action, Decision, Here, plan_adoption
from drover.sessions.persistence.records import SessionRecord
from tests.unit import examples

DATA = Path("/data")
HOME, OTHER_HOME = (1, 1), (1, 2)
BOOT = "boot-1"
HERE = Here(BOOT, DATA, HOME, {})
ALIVE, STOPPED, GONE = Liveness.ALIVE, Liveness.STOPPED, Liveness.GONE
ADOPT, REATTACH, RESTORE, FORGET = Action
GUID = examples.RUNNING.browser_guid


def version(guid: str) -> Probe:
    return Probe(
        ProbeResult.ANSWERED, 200, {"webSocketDebuggerUrl": f"ws://127.0.0.1:39999/devtools/browser/{guid}"}
    )


STATUS = Probe(ProbeResult.ANSWERED, 200, {"value": {"ready": True}})
COMMAND = Probe(ProbeResult.ANSWERED, 200, {"value": {"implicit": 0}})
UNKNOWN_SESSION = Probe(ProbeResult.ANSWERED, 404, {"value": {"error": "invalid session id"}})
SILENT = Probe(ProbeResult.SILENT, error="no answer within 2 s")
REFUSED = Probe(ProbeResult.REFUSED, error="[Errno 111] Connection refused")
WELL = HealthReadings(100.0, ALIVE, ALIVE, BrowserSignals(), STATUS, version(GUID), COMMAND)


def running(pid: int, started: float = 1.0, guid: str = GUID) -> RunningBrowser:
    return replace(
        examples.RUNNING,
        driver=ProcessIdentity(pid, started),
        browser=ProcessIdentity(pid + 1, started),
        browser_guid=guid,
    )


def stored(session_id: str = "one", **fields: object) -> SessionRecord:
    plain = SessionRecord.of(examples.session(session_id, running=examples.RUNNING), BOOT)
    return replace(plain, **fields)  # type: ignore[arg-type]


def readings_with(**changes: object) -> HealthReadings:
    return replace(WELL, **changes)  # type: ignore[arg-type]


def plan(*sessions: SessionRecord, readings: HealthReadings | None = WELL) -> tuple[Decision, ...]:
    facts = {} if readings is None else {session.session_id: readings for session in sessions}
    return plan_adoption(sessions, facts, HERE)


def only(session: SessionRecord, readings: HealthReadings | None = WELL) -> Decision:
    (decision,) = plan(session, readings=readings)
    return decision


CASES: list[tuple[str, HealthReadings, Action, Cause | None]] = [
    ("both live", WELL, ADOPT, None),
    ("a command runs", readings_with(session_command=SILENT), ADOPT, None),
    ("ChromeDriver died", HealthReadings(1.0, GONE, ALIVE), REATTACH, Cause.DRIVER_GONE),
    ("ChromeDriver is stopped", HealthReadings(1.0, STOPPED, ALIVE), REATTACH, Cause.DRIVER_HUNG),
    ("ChromeDriver refuses", readings_with(driver_status=REFUSED), REATTACH, Cause.DRIVER_GONE),
    ("ChromeDriver is silent", readings_with(driver_status=SILENT), REATTACH, Cause.DRIVER_HUNG),
    ("it forgot the session", readings_with(session_command=UNKNOWN_SESSION), REATTACH, Cause.DRIVER_GONE),
    ("a tab crashed", readings_with(seen=BrowserSignals(crashed_pages=("P1",))), REATTACH, Cause.TAB_CRASHED),
    ("the browser died", HealthReadings(1.0, ALIVE, GONE), RESTORE, Cause.BROWSER_GONE),
    ("the browser is stopped", HealthReadings(1.0, ALIVE, STOPPED), RESTORE, Cause.BROWSER_HUNG),
    ("both died", HealthReadings(1.0, GONE, GONE), RESTORE, Cause.BROWSER_GONE),
    ("the browser refuses", readings_with(browser_version=REFUSED), RESTORE, Cause.BROWSER_GONE),
    ("the browser is silent", readings_with(browser_version=SILENT), RESTORE, Cause.BROWSER_HUNG),
    ("another browser answers", readings_with(browser_version=version("other")), RESTORE, Cause.BROWSER_GONE),
    ("the GUID was not read", readings_with(browser_version=Probe()), RESTORE, Cause.BROWSER_GONE),
    (
        "the answer has no GUID",
        readings_with(browser_version=replace(STATUS, body=[])),
        RESTORE,
        Cause.BROWSER_GONE,
    ),
    (
        "the last window closed",
        readings_with(seen=BrowserSignals(no_page_left=True)),
        RESTORE,
        Cause.WINDOW_GONE,
    ),
]


@pytest.mark.parametrize(
    ("readings", "action", "cause"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_living_sessions_are_adopted_and_dead_ones_are_recovered(
    readings: HealthReadings, action: Action, cause: Cause | None
) -> None:
    session = stored()
    decision = only(session, readings)
    assert (decision.session, decision.action, decision.cause) == (session, action, cause)
    assert decision.reason


def test_after_a_reboot_no_recorded_process_is_valid() -> None:
    session = stored(boot_id="boot-0")
    decision = only(session)
    assert (decision.action, decision.cause) == (RESTORE, Cause.BROWSER_GONE)
    assert decision.reason == "the machine was rebooted"
    assert decision.session == replace(session, running=None)


def used(folder: str, home: FolderId | None = HOME, *, moved: bool = False) -> Here:
    """Return a start at which both processes of the example use a session folder."""
    mark = SessionMark(folder.rpartition("/s/")[0], folder, home, moved)
    return replace(HERE, marks=dict.fromkeys((examples.RUNNING.driver, examples.RUNNING.browser), mark))


@pytest.mark.parametrize("recorded", ["/data/s/abcdefgh", "/link/s/abcdefgh"])
@pytest.mark.parametrize("named", ["/data/s/abcdefgh", "/link/s/abcdefgh", "/other/link/s/abcdefgh"])
def test_a_session_is_adopted_under_each_path_of_the_data_folder(recorded: str, named: str) -> None:
    session = stored(folder=recorded)
    (decision,) = plan_adoption([session], {"one": WELL}, used(named))
    assert decision.action is ADOPT
    assert decision.session == replace(session, folder=str(Path("/data/s/abcdefgh")))


@pytest.mark.parametrize("recorded", ["/data/s/abcdefgh", "/original/s/abcdefgh"])
@pytest.mark.parametrize("named", ["/data/s/abcdefgh", "/original/s/abcdefgh"])
def test_a_copied_data_folder_does_not_take_browsers_from_the_original(recorded: str, named: str) -> None:
    (decision,) = plan_adoption([stored(folder=recorded)], {"one": WELL}, used(named, OTHER_HOME))
    assert (decision.action, decision.session.running) == (RESTORE, None)
    assert decision.reason == "the data folder is a copy, and the browser uses the original"
    assert decision.session.folder == str(Path("/data/s/abcdefgh"))


def test_a_browser_whose_data_folder_was_moved_is_not_kept() -> None:
    here = used("/before/s/abcdefgh", moved=True)
    (decision,) = plan_adoption([stored(folder="/before/s/abcdefgh")], {"one": WELL}, here)
    assert (decision.action, decision.session.running) == (RESTORE, None)
    assert decision.reason == "the data folder was moved while the browser ran"


def test_the_recorded_path_decides_if_no_process_shows_its_folder() -> None:
    decision = only(stored(folder="/somewhere/else/s/abcdefgh"))
    assert decision.action is RESTORE
    assert decision.reason == "the data folder was copied or moved"
    assert decision.session.running is None
    assert decision.session.folder == str(Path("/data/s/abcdefgh"))


def test_a_session_that_was_not_probed_is_recovered() -> None:
    assert only(stored(), None).action is RESTORE


@pytest.mark.parametrize("key", [None, "k"])
def test_a_session_that_was_never_answered_is_forgotten(key: str | None) -> None:
    decision = only(stored(running=None, key=key))
    assert (decision.action, decision.reason) == (FORGET, "the service ended while it was starting")


def test_a_session_whose_recovery_had_failed_is_recovered_again() -> None:
    decision = only(stored(running=None, generation=2))
    assert (decision.action, decision.cause) == (RESTORE, Cause.BROWSER_GONE)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"folder": "/data/s/abcdefgh"}, "the newer new has its folder"),
        ({"key": "k"}, "the newer new has its key"),
    ],
)
def test_of_two_sessions_with_one_folder_or_key_the_newer_wins(fields: dict[str, str], reason: str) -> None:
    older = stored("old", running=running(10), **fields)
    newer = stored("new", running=running(20), **fields)
    decisions = plan(older, newer)
    assert [decision.action for decision in decisions] == [FORGET, ADOPT]
    assert decisions[0].reason == reason


@pytest.mark.parametrize("other", [running(10), running(11), running(9)], ids=["both", "browser", "driver"])
def test_of_two_sessions_with_one_process_the_newer_wins(other: RunningBrowser) -> None:
    decisions = plan(stored("old", running=running(10)), stored("new", running=other))
    assert [decision.action for decision in decisions] == [FORGET, ADOPT]
    assert decisions[0].reason == "the newer new has its browser"


def test_a_session_that_was_never_answered_does_not_displace_one_that_was() -> None:
    older, newer = stored("old", key="k"), stored("new", key="k", running=None)
    assert [decision.action for decision in plan(older, newer)] == [ADOPT, FORGET]


def test_an_older_session_whose_pid_was_reused_loses_only_its_browser() -> None:
    older, newer = stored("old", running=running(10, 1.0)), stored("new", running=running(10, 2.0))
    facts = {"old": HealthReadings(1.0, GONE, GONE), "new": WELL}
    decisions = plan_adoption([older, newer], facts, HERE)
    assert [decision.action for decision in decisions] == [RESTORE, ADOPT]


def test_pids_of_an_earlier_boot_do_not_conflict_with_those_of_this_one() -> None:
    older, newer = stored("old", boot_id="boot-0"), stored("new")
    assert [decision.action for decision in plan(older, newer)] == [RESTORE, ADOPT]


def test_a_plan_has_its_decisions_in_the_order_of_the_sessions() -> None:
    made = plan(stored("a", running=running(10)), stored("b", running=None))
    assert [(one.session.session_id, one.action) for one in made] == [("a", ADOPT), ("b", FORGET)]


PROBES = st.sampled_from([Probe(), STATUS, UNKNOWN_SESSION, SILENT, REFUSED, version("g1"), version("g2")])
LIVENESS = st.sampled_from([ALIVE, ALIVE, ALIVE, STOPPED, GONE])
LOOKS = st.builds(
    HealthReadings,
    taken_at=st.just(1.0),
    driver=LIVENESS,
    browser=LIVENESS,
    seen=st.sampled_from(
        [
            BrowserSignals(),
            BrowserSignals(),
            BrowserSignals(crashed_pages=("P",)),
            BrowserSignals(no_page_left=True),
        ]
    ),
    driver_status=PROBES,
    browser_version=PROBES,
    session_command=PROBES,
)
IDENTITIES = st.builds(ProcessIdentity, st.integers(1, 8), st.sampled_from([1.0, 2.0]))
RUNNING = st.builds(
    RunningBrowser,
    driver=IDENTITIES,
    driver_url=st.just(examples.RUNNING.driver_url),
    driver_session_id=st.just("d"),
    browser=IDENTITIES,
    browser_version=st.just("1"),
    debugger_address=st.just(examples.RUNNING.debugger_address),
    browser_guid=st.sampled_from(["g1", "g2"]),
)


@st.composite
def stored_sessions(draw: st.DrawFn) -> list[SessionRecord]:
    return [
        stored(
            f"s{number}",
            key=draw(st.sampled_from([None, None, "k", "l"])),
            folder=f"{draw(st.sampled_from(['/data', '/data', '/other']))}/s/{draw(st.integers(0, 9)):08d}",
            running=draw(st.one_of(st.none(), RUNNING, RUNNING, RUNNING)),
            boot_id=draw(st.sampled_from([BOOT, BOOT, BOOT, "boot-0"])),
            generation=draw(st.sampled_from([1, 2, 5])),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


FACTS = st.dictionaries(st.sampled_from([f"s{number}" for number in range(6)]), LOOKS)


@given(stored_sessions(), FACTS)
def test_every_session_gets_exactly_one_decision_with_a_reason(
    sessions: list[SessionRecord], facts: dict[str, HealthReadings]
) -> None:
    decisions = plan_adoption(sessions, facts, HERE)
    assert [one.session.session_id for one in decisions] == [session.session_id for session in sessions]
    assert all(one.reason for one in decisions)
    assert all((one.cause is None) == (one.action in {ADOPT, FORGET}) for one in decisions)


@given(stored_sessions(), FACTS)
def test_nothing_of_another_boot_or_data_folder_is_touched(
    sessions: list[SessionRecord], facts: dict[str, HealthReadings]
) -> None:
    decisions = plan_adoption(sessions, facts, HERE)
    for session, decision in zip(sessions, decisions, strict=True):
        if session.boot_id != BOOT or not session.folder.startswith("/data/"):
            assert decision.action in {RESTORE, FORGET}
            assert decision.session.running is None


@given(stored_sessions(), FACTS)
def test_only_the_same_browser_is_adopted_and_only_a_living_one_gets_a_new_driver(
    sessions: list[SessionRecord], facts: dict[str, HealthReadings]
) -> None:
    for one in plan_adoption(sessions, facts, HERE):
        if one.action in {ADOPT, REATTACH}:
            found = facts[one.session.session_id]
            assert one.session.running
            assert found.browser is ALIVE
            body = found.browser_version.body
            # If a process is dead, no endpoint is probed, and the re-attach itself compares the GUID.
            asked = found.driver is ALIVE and found.browser_version.reply is ProbeResult.ANSWERED
            ours = version(one.session.running.browser_guid).body
            assert not asked or body in (STATUS.body, UNKNOWN_SESSION.body, ours)
            if one.action is ADOPT:
                assert found.driver is ALIVE
                assert body == version(one.session.running.browser_guid).body


@given(stored_sessions(), FACTS)
def test_no_process_folder_or_key_is_kept_by_two_sessions(
    sessions: list[SessionRecord], facts: dict[str, HealthReadings]
) -> None:
    kept = [one for one in plan_adoption(sessions, facts, HERE) if one.action is not FORGET]
    folders = [one.session.folder for one in kept]
    keys = [one.session.key for one in kept if one.session.key is not None]
    pids = [
        pid
        for one in kept
        if one.session.running is not None
        for pid in (one.session.running.pids if one.action is ADOPT else [one.session.running.browser.pid])
        if one.action in {ADOPT, REATTACH}
    ]
    ended = {
        process
        for one in kept
        if one.action is RESTORE and one.session.running is not None
        for process in (one.session.running.browser, one.session.running.driver)
    }
    living = {
        process
        for one in kept
        if one.action is ADOPT and one.session.running is not None
        for process in (one.session.running.browser, one.session.running.driver)
    }
    assert len(set(folders)) == len(folders)
    assert len(set(keys)) == len(keys)
    assert len(set(pids)) == len(pids)
    assert not ended & living


@given(stored_sessions(), FACTS)
def test_a_session_is_forgotten_only_for_a_newer_one_or_an_unanswered_start(
    sessions: list[SessionRecord], facts: dict[str, HealthReadings]
) -> None:
    decisions = plan_adoption(sessions, facts, HERE)
    kept = {one.session.session_id for one in decisions if one.action is not FORGET}
    for number, decision in enumerate(decisions):
        unanswered = sessions[number].running is None and sessions[number].generation == 1
        if decision.action is FORGET and not unanswered:
            newer = {session.session_id for session in sessions[number + 1 :]}
            assert newer & kept
