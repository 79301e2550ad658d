"""ChromeDriver and Chrome die, hang or are stopped; the session continues under its id."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill, stop
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import (
    Json,
    Service,
    assert_no_trace,
    expect,
    expect_error,
    folder_of,
    pids_of,
    running,
)
from tests.cases import first_or_all
from tests.integration.fake_chromedriver import Fault, install
from tests.machine import is_living, living, run_both, run_concurrently, wait_gone, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and stops with POSIX signals")

CLIENTS: Final = 20
NEW_BROWSER: Final = {"recreated", "restored"}
PIDS: Final = r"(\{\d+(, \d+)*\}|\{\}|set\(\))"


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that treats an unresponsive process as hung after some three seconds."""
    with running(health_timeout=1) as service:
        yield service


@pytest.fixture
def session(service: Service, pages: Pages) -> Json:
    """Return a session with a page in which a script has stored a value."""
    session = service.create(session_id="session")
    client = Driver(session)
    client.open(pages.url("/form"))
    client.run("window.left = 42; document.getElementById('name').value = 'half a form'")
    return session


def retrieve_by_post(service: Service) -> Json:
    """Retrieve the session as a client does."""
    return expect(service.post("/sessions", json={"session_id": "session"}))


def retrieve_by_get(service: Service) -> Json:
    """Read the session, which also recovers it."""
    return expect(service.get("/sessions/session"))


def assert_recovered(before: Json, answer: Json, causes: set[str], methods: set[str]) -> Json:
    """Assert that an answer reports one recovery of the same session; return the session object."""
    session: Json = answer["session"]
    recovery = answer["recovery"]
    assert (answer["created"], answer["recovered"]) == (False, True)
    assert answer["session_id"] == session["session_id"] == before["session_id"]
    assert recovery["cause"] in causes
    assert recovery["method"] in methods
    assert recovery["orphans_killed"] >= 0
    assert recovery["duration_ms"] >= 0
    assert session["recoveries"] == before["recoveries"] + 1
    assert session["last_recovery"]["cause"] == recovery["cause"]
    assert session["health"]["status"] == "healthy"
    assert session["created_at"] == before["created_at"]
    return session


def assert_page_is_kept(before: Json, after: Json) -> None:
    """Assert that a recovery lost nothing in the page."""
    assert after["browser"] == before["browser"]
    assert after["driver"]["pid"] != before["driver"]["pid"]
    client = Driver(after)
    assert client.run("return window.left") == 42
    assert client.run("return document.getElementById('name').value") == "half a form"


def assert_new_browser_works(before: Json, after: Json) -> None:
    """Assert that a recovery started another browser, and that it works."""
    assert after["browser"]["pid"] != before["browser"]["pid"]
    assert Driver(after).run("return 6 * 7") == 42
    assert not is_living(before["browser"]["pid"])


@pytest.mark.parametrize("retrieve", [retrieve_by_get, retrieve_by_post])
def test_a_killed_driver_is_replaced_and_the_page_is_kept(
    service: Service, session: Json, retrieve: Callable[[Service], Json]
) -> None:
    kill(session["driver"]["pid"])
    after = assert_recovered(session, retrieve(service), {"driver_gone"}, {"reattached"})
    assert_page_is_kept(session, after)
    again = retrieve(service)
    assert (again["recovered"], again["recovery"]) == (False, None)
    assert again["session"]["driver"] == after["driver"]


def test_a_dead_driver_is_logged_as_a_connection_error(service: Service, session: Json) -> None:
    since = service.mark()
    kill(session["driver"]["pid"])
    retrieve_by_get(service)
    expected = [
        r"WARNING: Session session appears dead: .+",
        r"WARNING: 🔧 Connection error detected - attempting to clean up orphaned processes",
        rf"INFO: Active ChromeDriver PIDs: {PIDS}",
        r"INFO: ✅ (No orphaned processes found|Killed \d+ orphaned Chrome/ChromeDriver processes)",
    ]
    service.expect_log(expected, since)


def test_a_recovered_session_can_lose_its_driver_again_and_be_closed_for_good(
    service: Service, session: Json
) -> None:
    for _ in range(2):
        kill(service.report("session")["driver"]["pid"])
        after = retrieve_by_get(service)["session"]
        assert_page_is_kept(session, after)
    assert after["recoveries"] == 2
    pids, folder = pids_of(after) | {session["browser"]["pid"]}, folder_of(after)
    expect(service.delete("/sessions/session"))
    assert living(pids) == set()
    assert not folder.exists()


def test_windows_and_the_current_one_survive_a_killed_driver(
    service: Service, session: Json, pages: Pages
) -> None:
    client = Driver(session)
    client.switch_to(client.new_window())
    client.open(pages.url("/red"))
    handles = set(client.windows())
    kill(session["driver"]["pid"])
    after = retrieve_by_get(service)["session"]
    assert len(handles) == 2
    assert set(Driver(after).windows()) == handles
    assert Driver(after).address() == pages.url("/red")


@pytest.mark.parametrize("retrieve", [retrieve_by_get, retrieve_by_post])
def test_a_killed_browser_is_replaced(
    service: Service, session: Json, retrieve: Callable[[Service], Json]
) -> None:
    kill(session["browser"]["pid"])
    after = assert_recovered(session, retrieve(service), {"browser_gone"}, NEW_BROWSER)
    assert_new_browser_works(session, after)


def test_driver_and_browser_killed_together_are_replaced(service: Service, session: Json) -> None:
    kill(session["driver"]["pid"])
    kill(session["browser"]["pid"])
    after = assert_recovered(session, retrieve_by_get(service), {"driver_gone", "browser_gone"}, NEW_BROWSER)
    assert_new_browser_works(session, after)


@pytest.mark.exhaustive
def test_a_new_browser_gets_the_requested_capabilities(service: Service) -> None:
    options = {"args": ["--user-agent=Agent Smith", "--window-size=801,602"]}
    before = service.create(session_id="smith", capabilities={"goog:chromeOptions": options})
    kill(before["browser"]["pid"])
    after = expect(service.get("/sessions/smith"))["session"]
    assert Driver(after).run("return [navigator.userAgent, outerWidth]") == ["Agent Smith", 801]


def test_a_stopped_driver_is_replaced_at_once_and_the_page_is_kept(service: Service, session: Json) -> None:
    stop(session["driver"]["pid"])
    after = assert_recovered(session, retrieve_by_get(service), {"driver_hung"}, {"reattached"})
    assert_page_is_kept(session, after)
    assert not is_living(session["driver"]["pid"])


def test_a_stopped_browser_is_replaced(service: Service, session: Json) -> None:
    pids = pids_of(session)
    stop(session["browser"]["pid"])
    after = assert_recovered(session, retrieve_by_get(service), {"browser_hung"}, NEW_BROWSER)
    assert_new_browser_works(session, after)
    assert living(pids - pids_of(after)) == set()


def test_a_closed_last_window_is_recovered_at_the_next_access(service: Service, session: Json) -> None:
    Driver(session).close_window()
    after = expect(service.get("/sessions/session"))["session"]
    assert Driver(after).run("return 6 * 7") == 42


@pytest.mark.parametrize("retrieve", [retrieve_by_get, retrieve_by_post])
def test_twenty_clients_share_one_recovery(
    service: Service, session: Json, retrieve: Callable[[Service], Json]
) -> None:
    kill(session["driver"]["pid"])
    answers = run_concurrently([partial(retrieve, service)] * CLIENTS)
    assert len({answer["session"]["driver"]["pid"] for answer in answers}) == 1
    assert {answer["session"]["browser"]["pid"] for answer in answers} == {session["browser"]["pid"]}
    assert any(answer["recovered"] for answer in answers)
    assert service.report("session")["recoveries"] == 1


def test_twenty_clients_share_one_new_browser(service: Service, session: Json) -> None:
    kill(session["driver"]["pid"])
    kill(session["browser"]["pid"])
    answers = run_concurrently([partial(retrieve_by_post, service)] * CLIENTS)
    assert len({answer["session"]["browser"]["pid"] for answer in answers}) == 1
    assert service.report("session")["recoveries"] == 1
    assert len(service.session_folders()) == 1


def test_reading_with_recover_false_only_reports(service: Service, session: Json) -> None:
    kill(session["driver"]["pid"])
    answer = expect(service.get("/sessions/session?recover=false"))
    assert (answer["recovered"], answer["recovery"]) == (False, None)
    assert answer["session"]["health"]["status"] == "dead"
    assert answer["session"]["health"]["reason"]
    assert answer["session"]["driver"]["pid"] == session["driver"]["pid"]
    assert is_living(session["browser"]["pid"])
    assert retrieve_by_get(service)["recovery"]["method"] == "reattached"


def test_a_slow_page_is_busy_and_not_dead(service: Service, session: Json, slow_page: Gate) -> None:
    def read_for_longer_than_the_timeouts() -> set[str]:
        with slow_page.while_it_loads():
            seen = set()
            until = time.monotonic() + 4
            while time.monotonic() < until:
                answer = retrieve_by_get(service)
                assert answer["recovered"] is False
                assert answer["session"]["driver"] == session["driver"]
                seen.add(answer["session"]["health"]["status"])
                time.sleep(0.2)
        return seen

    _, seen = run_both(partial(Driver(session).open, slow_page.url), read_for_longer_than_the_timeouts)
    assert seen <= {"busy", "healthy"}
    assert Driver(session).address() == slow_page.url


def test_a_long_running_script_is_not_treated_as_dead(service: Service, session: Json) -> None:
    loop = "const end = Date.now() + 4000; while (Date.now() < end); return window.left"

    def keep_reading() -> None:
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            assert retrieve_by_get(service)["recovered"] is False
            time.sleep(0.2)

    value, _ = run_both(partial(Driver(session).run, loop), keep_reading)
    assert value == 42


def test_an_open_alert_is_healthy_and_stays_open(service: Service, session: Json, pages: Pages) -> None:
    client = Driver(session)
    client.open(pages.url("/alert"))
    wait_until(client.alert_text, "the alert opens")
    answer = retrieve_by_get(service)
    assert answer["recovered"] is False
    assert client.alert_text() == "look here"


def test_the_list_neither_contacts_nor_waits_for_a_browser(service: Service, session: Json) -> None:
    other = service.create(session_id="other")
    stop(session["browser"]["pid"])
    stop(session["driver"]["pid"])
    assert service.listed().keys() == {"session", "other"}
    recovered, answer = run_both(
        partial(retrieve_by_get, service), lambda: expect(service.get("/sessions/other", timeout=10))
    )
    assert answer["session"]["driver"] == other["driver"]
    assert answer["recovered"] is False
    assert recovered["recovered"] is True


def test_a_stuck_session_can_be_deleted(service: Service, session: Json) -> None:
    pids, folder = pids_of(session), folder_of(session)
    stop(session["browser"]["pid"])
    stop(session["driver"]["pid"])
    expect(service.delete("/sessions/session", timeout=20))
    assert living(pids) == set()
    assert not folder.exists()


def test_a_delete_during_a_recovery_wins(service: Service, session: Json) -> None:
    pids = pids_of(session)
    kill(session["driver"]["pid"])
    retrieval, deletion = run_both(
        lambda: service.post("/sessions", json={"session_id": "session"}),
        lambda: service.delete("/sessions/session"),
    )
    assert deletion.status_code == 200
    # A client that comes after the deletion creates the session again; one that comes before may lose it.
    assert retrieval.status_code in {200, 201, 404, 503}
    assert expect(retrieval, retrieval.status_code)
    wait_gone(pids)


def test_a_driver_killed_at_the_first_page_is_answered_and_leaves_nothing(
    service: Service, slow_page: Gate
) -> None:
    def kill_it() -> None:
        slow_page.wait_until_requested()
        for process in service.processes():
            if Path(process.cmdline()[0]).name == "chromedriver":
                kill(process.pid)

    def create() -> int:
        response = service.post("/sessions", json={"session_id": "session", "url": slow_page.url})
        expect(response, response.status_code)
        return response.status_code

    status, _ = run_both(create, kill_it)
    assert status in {200, 201, 503}
    if "session" not in service.listed():
        assert service.processes() == []
        assert service.session_folders() == []


def test_no_fault_leaves_a_stack_trace(service: Service, session: Json) -> None:
    kill(session["driver"]["pid"])
    retrieve_by_get(service)
    assert_no_trace(service)


@pytest.mark.parametrize("fault", first_or_all([Fault.HUNG, Fault.NOT_ACCEPTING]))
def test_an_unresponsive_driver_is_replaced(start_service: StartService, folder: Path, fault: Fault) -> None:
    service = start_service(chromedriver=install(folder), health_timeout=0.5)
    before = service.create(session_id="session")
    silent = before["driver"]["pid"]
    (folder / "control").write_text(f"{silent} {fault.value}\n", encoding="utf-8")
    assert service.listed().keys() == {"session"}
    after = assert_recovered(before, retrieve_by_get(service), {"driver_hung"}, {"reattached"})
    assert after["browser"] == before["browser"]
    assert not is_living(silent)


def test_an_unresponsive_browser_is_replaced(start_service: StartService, folder: Path) -> None:
    service = start_service(chromedriver=install(folder), health_timeout=0.5)
    before = service.create(session_id="session")
    silent = before["browser"]["pid"]
    (folder / "control").write_text(f"{silent} {Fault.BROWSER_HUNG.value}\n", encoding="utf-8")
    after = assert_recovered(before, retrieve_by_get(service), {"browser_hung"}, NEW_BROWSER)
    assert after["browser"]["pid"] != silent
    assert not is_living(silent)


@pytest.mark.exhaustive
def test_a_failed_recovery_is_reported_and_a_later_request_retries(
    start_service: StartService, folder: Path
) -> None:
    service = start_service(chromedriver=install(folder))
    before = service.create(session_id="session")
    (folder / "control").write_text(Fault.BROWSER_DIES_AT_START.value, encoding="utf-8")
    kill(before["browser"]["pid"])
    expect_error(service.get("/sessions/session"), 503, "recovery_failed")
    expect_error(service.post("/sessions", json={"session_id": "session"}), 503, "recovery_failed")
    assert service.listed().keys() == {"session"}
    (folder / "control").unlink()
    wait_until(lambda: service.get("/sessions/session").ok, "the session is recovered", 30)
    after = service.report("session")
    assert is_living(after["browser"]["pid"])
    assert len(service.session_folders()) == 1


def test_a_driver_that_answers_only_its_status_is_busy(start_service: StartService, folder: Path) -> None:
    service = start_service(chromedriver=install(folder), health_timeout=0.5)
    before = service.create(session_id="session")
    (folder / "control").write_text(f"{before['driver']['pid']} {Fault.BUSY.value}\n", encoding="utf-8")
    for _ in range(3):
        answer = retrieve_by_get(service)
        assert answer["recovered"] is False
        assert answer["session"]["driver"] == before["driver"]
    (folder / "control").unlink()
    assert re.fullmatch("busy|healthy", retrieve_by_get(service)["session"]["health"]["status"])
