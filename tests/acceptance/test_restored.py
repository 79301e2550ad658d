"""Browsers, tabs and helpers die or hang; the session goes on with what its client had in it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.acceptance.belongings import assert_belongings, leave_belongings, wait_until_saved
from tests.acceptance.driving import Driver
from tests.acceptance.faults import kill, network_process, renderers, stop
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service, assert_no_trace, expect, folder_of, running
from tests.machine import is_living, together, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and stops with POSIX signals")

NAMES: Final = ["killed", "both", "stopped", "all_stopped", "bare", "windowless", "again"]


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service in which nothing but a client's access heals a session."""
    with running(health_timeout=1, watch_interval=0) as service:
        yield service


@pytest.fixture(scope="module")
def patients(shared_service: Service, pages: Pages) -> Iterator[dict[str, Json]]:
    """Give sessions whose clients have left something in them, more than two seconds ago."""
    sessions = [shared_service.create(session_id=name) for name in NAMES]
    for session in sessions:
        leave_belongings(session, pages)
    wait_until_saved()
    yield dict(zip(NAMES, sessions, strict=True))
    shared_service.close_all()


def harm_by_killing(session: Json) -> None:
    kill(session["browser"]["pid"])


def harm_by_killing_both(session: Json) -> None:
    kill(session["driver"]["pid"], session["browser"]["pid"])


def harm_by_stopping(session: Json) -> None:
    stop(session["browser"]["pid"])


def harm_by_stopping_both(session: Json) -> None:
    stop(session["driver"]["pid"], session["browser"]["pid"])


def harm_by_removing_the_profile(session: Json) -> None:
    shutil.rmtree(folder_of(session) / "p", ignore_errors=True)
    kill(session["browser"]["pid"])


def harm_by_closing_the_last_window(session: Json) -> None:
    Driver(session).close_window()


def healed(service: Service, before: Json, causes: set[str], methods: set[str]) -> Json:
    """Read a session, and hold the answer to reporting its one recovery; give the session object."""
    answer = expect(service.get(f"/sessions/{before['session_id']}"))
    session: Json = answer["session"]
    assert (answer["created"], answer["recovered"]) == (False, True)
    assert (answer["recovery"]["cause"], answer["recovery"]["method"]) in {
        (cause, method) for cause in causes for method in methods
    }
    assert session["recoveries"] == before["recoveries"] + 1
    assert (session["state"], session["health"]["status"]) == ("ready", "healthy")
    return session


@pytest.mark.parametrize(
    ("name", "harm", "causes"),
    [
        ("killed", harm_by_killing, {"browser_gone"}),
        ("both", harm_by_killing_both, {"browser_gone", "driver_gone"}),
        ("stopped", harm_by_stopping, {"browser_hung"}),
        ("all_stopped", harm_by_stopping_both, {"browser_hung", "driver_hung"}),
        ("windowless", harm_by_closing_the_last_window, {"window_gone"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_new_browser_gets_all_that_the_old_one_had(
    shared_service: Service,
    patients: dict[str, Json],
    pages: Pages,
    name: str,
    harm: Callable[[Json], None],
    causes: set[str],
) -> None:
    before = patients[name]
    harm(before)
    after = healed(shared_service, before, causes, {"restored"})
    assert after["browser"]["pid"] != before["browser"]["pid"]
    assert not is_living(before["browser"]["pid"])
    assert not is_living(before["driver"]["pid"])
    assert after["current_url"] == pages.url("/form")
    assert_belongings(after, pages)


def test_a_profile_that_somebody_removed_costs_only_what_was_never_taken(
    shared_service: Service, patients: dict[str, Json], pages: Pages
) -> None:
    before = patients["bare"]
    harm_by_removing_the_profile(before)
    after = healed(shared_service, before, {"browser_gone"}, {"restored", "recreated"})
    assert_belongings(after, pages)


def test_what_was_put_back_is_put_back_again(
    shared_service: Service, patients: dict[str, Json], pages: Pages
) -> None:
    before = patients["again"]
    for _ in range(2):
        kill(before["browser"]["pid"])
        before = healed(shared_service, before, {"browser_gone"}, {"restored"})
        assert_belongings(before, pages)


def test_the_last_two_seconds_are_all_that_can_be_missing(service: Service, pages: Pages) -> None:
    before = service.create(session_id="busy")
    client = Driver(before)
    client.open(pages.url("/form"))
    for number in range(3):
        client.run("localStorage.setItem('step', arguments[0])", str(number))
        wait_until_saved()
    client.run("localStorage.setItem('step', 'the last')")
    kill(before["browser"]["pid"])
    after = healed(service, before, {"browser_gone"}, {"restored"})
    assert Driver(after).run("return localStorage.getItem('step')") in {"2", "the last"}


def test_a_crashed_tab_is_healed_inside_its_browser(service: Service, pages: Pages) -> None:
    before = service.create(session_id="snap")
    leave_belongings(before, pages)
    kill(*renderers(before))
    after = healed(service, before, {"tab_crashed"}, {"reattached"})
    assert after["browser"] == before["browser"]
    assert_belongings(after, pages)


def test_a_crashed_tab_leaves_the_other_windows_as_they_are(service: Service, pages: Pages) -> None:
    before = service.create(session_id="snap")
    client = Driver(before)
    client.open(pages.url("/form"))
    first, untouched = client.windows()[0], renderers(before)
    client.switch_to(client.new_window())
    client.open(pages.url("/red").replace("127.0.0.1", "localhost"))
    client.switch_to(first)
    client.run("window.left = 42")
    kill(*(renderers(before) - untouched))
    handles = set(client.windows())
    answer = expect(service.get("/sessions/snap"))
    after = Driver(answer["session"])
    assert answer["session"]["browser"] == before["browser"]
    assert set(after.windows()) == handles
    after.switch_to(first)
    assert after.run("return window.left") == 42


def test_a_killed_network_process_ends_neither_browser_nor_session(service: Service, pages: Pages) -> None:
    before = service.create(session_id="offline")
    leave_belongings(before, pages)
    wait_until_saved()
    kill(*network_process(before))
    after = expect(service.get("/sessions/offline"))["session"]
    assert after["health"]["status"] == "healthy"
    assert after["browser"] == before["browser"]
    client = Driver(after)
    wait_until(lambda: opens(client, pages.url("/red")), "the network is back")
    client.open(pages.url("/form"))
    assert client.cookies()["lasting"] == "for an hour"
    assert client.run("return localStorage.getItem('local')") == "kept"


def opens(client: Driver, url: str) -> bool:
    """Tell whether a page can be loaded by now."""
    try:
        client.open(url)
    except AssertionError:
        return False
    return client.address() == url


def test_twenty_callers_get_one_restored_browser(service: Service, pages: Pages) -> None:
    before = service.create(session_id="crowd")
    leave_belongings(before, pages)
    wait_until_saved()
    kill(before["browser"]["pid"])
    answers = together([lambda: expect(service.post("/sessions", json={"session_id": "crowd"}))] * 20)
    assert len({answer["session"]["browser"]["pid"] for answer in answers}) == 1
    assert {answer["recovery"]["method"] for answer in answers if answer["recovered"]} == {"restored"}
    assert service.report("crowd")["recoveries"] == 1
    assert_belongings(answers[0]["session"], pages)


def test_nothing_of_this_leaves_a_stack_trace(shared_service: Service) -> None:
    assert_no_trace(shared_service)
