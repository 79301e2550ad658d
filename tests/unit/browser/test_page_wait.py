from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser import page_wait
from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.dialogs import Dialog, DialogAnswers
from drover.browser.page_targets import PageTarget
from drover.browser.page_wait import (
    BLOCKED_S,
    IDLE_S,
    MAX_DIALOGS,
    STOP_S,
    Action,
    LastResort,
    PageWait,
    last_resort,
)
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionLost

WATCHED = PageTarget("P1", "http://a/b?token=secret#part", watched=True)
UNWATCHED = replace(WATCHED, watched=False)
STOPPED = {"P1": Action.STOP, "P2": Action.STOP}
POPUP = replace(UNWATCHED, target_id="P2", opened_by_script=True)


def answers(**dialogs: int) -> DialogAnswers:
    """Make the answers to so many dialogs of each page."""
    made = DialogAnswers(lambda _: False)
    for target_id, count in dialogs.items():
        for _ in range(count):
            made.note(target_id, Dialog("alert"))
    return made


@pytest.mark.parametrize(
    ("pages", "idle_s", "tried", "expected"),
    [
        ([WATCHED], 0.0, {}, None),
        ([WATCHED], STOP_S, {}, LastResort(Action.STOP, WATCHED)),
        ([UNWATCHED, POPUP], STOP_S, {"P1": Action.STOP}, LastResort(Action.STOP, POPUP)),
        ([WATCHED], IDLE_S - 1, STOPPED, None),
        ([WATCHED], IDLE_S, STOPPED, LastResort(Action.RELOAD, WATCHED)),
        ([UNWATCHED], BLOCKED_S - 0.1, STOPPED, None),
        ([UNWATCHED], BLOCKED_S, STOPPED, LastResort(Action.RELOAD, UNWATCHED)),
        ([UNWATCHED], BLOCKED_S, {"P1": Action.RELOAD}, LastResort(Action.LEAVE, UNWATCHED)),
        ([UNWATCHED], 1e6, {"P1": Action.LEAVE}, None),
        ([UNWATCHED, POPUP], BLOCKED_S, STOPPED, LastResort(Action.CLOSE, POPUP)),
        ([WATCHED, POPUP], BLOCKED_S, STOPPED, LastResort(Action.CLOSE, POPUP)),
        (
            [UNWATCHED, replace(POPUP, watched=True)],
            BLOCKED_S,
            STOPPED,
            LastResort(Action.RELOAD, UNWATCHED),
        ),
        (
            [UNWATCHED, POPUP],
            BLOCKED_S,
            STOPPED | {"P2": Action.CLOSE},
            LastResort(Action.RELOAD, UNWATCHED),
        ),
        ([], 1e6, {}, None),
    ],
)
def test_one_page_is_given_up_only_if_no_script_runs(
    pages: list[PageTarget], idle_s: float, tried: Mapping[str, Action], expected: LastResort | None
) -> None:
    assert last_resort(pages, idle_s, answers(), tried) == expected


def test_a_crashed_page_is_reloaded_at_once_and_left_if_it_crashes_again() -> None:
    crashed = replace(WATCHED, crashed=True)
    assert last_resort([crashed], 0.0, answers(), {}) == LastResort(Action.RELOAD, crashed)
    again = {"P1": Action.RELOAD}
    assert last_resort([crashed], 0.0, answers(), again) == LastResort(Action.LEAVE, crashed)
    assert last_resort([crashed], 0.0, answers(), {"P1": Action.LEAVE}) is None


def test_a_page_that_opens_dialogs_without_end_is_left_although_its_script_runs() -> None:
    assert last_resort([WATCHED], 0.0, answers(P1=MAX_DIALOGS), {}) is None
    assert last_resort([WATCHED], 0.0, answers(P1=MAX_DIALOGS + 1), {}) == LastResort(Action.LEAVE, WATCHED)


def test_the_query_of_an_address_is_not_shown() -> None:
    assert LastResort(Action.RELOAD, WATCHED).lost == "page:http://a/b"
    assert LastResort(Action.CLOSE, replace(POPUP, url="about:blank")).lost == "popup:about:blank"


pages = st.builds(
    PageTarget,
    target_id=st.sampled_from(["P1", "P2", "P3"]),
    opened_by_script=st.booleans(),
    watched=st.booleans(),
    crashed=st.booleans(),
)


@given(
    st.lists(pages, max_size=3, unique_by=lambda page: page.target_id),
    st.dictionaries(st.sampled_from(["P1", "P2", "P3"]), st.integers(0, 2 * MAX_DIALOGS)),
)
def test_a_page_is_given_up_at_most_twice_after_its_loading_was_stopped(
    silent: list[PageTarget], dialogs: dict[str, int]
) -> None:
    tried: dict[str, Action] = {}
    actions: list[LastResort] = []
    while (found := last_resort(silent, 1e6, answers(**dialogs), tried)) is not None:
        assert found.page in silent
        actions.append(found)
        tried[found.page.target_id] = found.action
        assert len(actions) <= 3 * len(silent)


class FakeConnection:
    """A browser whose pages answer after some looks, and whose renderers compute or not."""

    def __init__(self, silent: list[tuple[PageTarget, ...]], *, computes: bool = False) -> None:
        self._silent = silent
        self._times = itertools.count()
        self._computes = computes
        self.commands: list[tuple[str, object]] = []
        self.pages: tuple[PageTarget, ...] = (UNWATCHED, POPUP)
        self.failure: Exception | None = None

    def silent_pages(self, _: float) -> tuple[PageTarget, ...]:
        return self._silent.pop(0) if len(self._silent) > 1 else self._silent[0]

    def call(self, method: str, _: float, **parameters: object) -> object:
        if method == "SystemInfo.getProcessInfo":
            used = float(next(self._times)) if self._computes else 1.0
            browser = {"type": "browser", "id": 1, "cpuTime": float(next(self._times))}
            return {"processInfo": [browser, {"type": "renderer", "id": 2, "cpuTime": used}]}
        self._command(method, parameters["targetId"])
        return {}

    def call_page(self, target_id: str, method: str, _: float, **__: object) -> object:
        self._command(method, target_id)
        return {}

    def reload_page(self, target_id: str, _: float) -> None:
        self._command("Page.reload", target_id)

    def _command(self, method: str, target_id: object) -> None:
        if self.failure is not None:
            raise self.failure
        self.commands.append((method, target_id))


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a second pass between two looks at the clock."""
    clock = itertools.count()
    monkeypatch.setattr(page_wait, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))


def wait_for(connection: FakeConnection, *, wanted: bool = True, seconds: float = 60) -> PageWait:
    wait = PageWait(cast("Connection", connection), answers())
    wait.until_all_answer(Deadline(seconds), lambda: wanted)
    return wait


def test_pages_that_answer_cost_nothing() -> None:
    connection = FakeConnection([()])
    assert wait_for(connection).lost == ()
    assert connection.commands == []


def test_a_page_whose_script_runs_is_waited_for() -> None:
    connection = FakeConnection([(UNWATCHED,)] * 100 + [()], computes=True)
    assert wait_for(connection).lost == ()
    assert connection.commands == []


def test_a_page_that_answers_when_its_loading_was_stopped_is_kept() -> None:
    connection = FakeConnection([(WATCHED,)] * 3 + [()])
    wait = wait_for(connection)
    assert connection.commands == [("Page.stopLoading", "P1")]
    assert wait.lost == ("load:http://a/b",)


def test_a_blocked_popup_is_closed_and_then_its_opener_is_reloaded() -> None:
    connection = FakeConnection([(UNWATCHED, POPUP)] * 9 + [(UNWATCHED,)] * 9 + [()])
    wait = wait_for(connection)
    assert connection.commands[:3] == [
        ("Page.stopLoading", "P1"),
        ("Page.stopLoading", "P2"),
        ("Target.closeTarget", "P2"),
    ]
    assert ("Page.reload", "P1") in connection.commands
    assert wait.lost == ("popup:http://a/b", "page:http://a/b")


def test_at_the_deadline_the_reason_is_reported_and_no_page_was_touched() -> None:
    connection = FakeConnection([(WATCHED,)], computes=True)
    with pytest.raises(BrowserUnavailable, match=r"does not: http://a/b\. Its script is running"):
        wait_for(connection, seconds=0)
    assert connection.commands == []


def test_a_session_that_is_closed_does_not_wait() -> None:
    with pytest.raises(SessionLost):
        wait_for(FakeConnection([(WATCHED,)]), wanted=False)


def test_a_page_that_was_closed_in_the_meantime_is_not_lost() -> None:
    connection = FakeConnection([(UNWATCHED,)] * 9 + [()])
    connection.failure, connection.pages = DevToolsFailed("no such target"), ()
    assert wait_for(connection).lost == ()


def test_a_page_that_cannot_be_reloaded_fails_the_wait() -> None:
    connection = FakeConnection([(UNWATCHED,)])
    connection.failure = DevToolsFailed("the browser does not answer")
    with pytest.raises(DevToolsFailed):
        wait_for(connection)


def test_crashed_pages_are_reloaded_before_a_driver_is_attached() -> None:
    connection = FakeConnection([()])
    connection.pages = (replace(WATCHED, crashed=True), POPUP)
    wait = PageWait(cast("Connection", connection), answers())
    wait.reload_crashed()
    assert connection.commands == [("Page.reload", "P1")]
    assert wait.lost == ("page:http://a/b",)


def test_only_pages_that_open_dialogs_without_end_are_left() -> None:
    connection = FakeConnection([()])
    wait = PageWait(cast("Connection", connection), answers(P1=MAX_DIALOGS + 1, P2=MAX_DIALOGS))
    wait.leave_endless_dialogs()
    assert connection.commands == [("Page.navigate", "P1")]
    assert page_wait.Action.LEAVE.value == "about:blank"
