"""Sessions over REST: created, retrieved, listed, closed, ended when idle, and evicted."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import pytest
import requests

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Json, Service, expect, expect_error, folder_of, pids_of
from tests.integration.fake_chromedriver import START_ERROR, Fault, install
from tests.machine import living, run_both, run_concurrently, wait_gone, wait_until

TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
CLIENTS: Final = 20
IDLE_S: Final = 2.0
IDLE_SLACK_S: Final = 3.5
BAD_IDS: Final = ["", "-dash", "_low", "a b", "a/b", "../etc", "é", "a.b", "a\n", "x" * 65]


def to_epoch(text: str) -> float:
    """Convert a time of the contract to seconds since the epoch."""
    assert TIME.fullmatch(text), text
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


def posted(service: Service, **fields: object) -> Json:
    """Retrieve or create a session; return the whole answer."""
    response = service.post("/sessions", json=fields)
    assert response.status_code in {200, 201}, response.text
    return expect(response, response.status_code)


def test_a_new_session_is_described_in_full(service: Service) -> None:
    response = service.post("/sessions", json={"key": "account-17", "idle_timeout": 600})
    answer = expect(response, 201)
    session = answer["session"]
    assert re.fullmatch(r"session_[0-9a-f]{12}", answer["session_id"])
    assert response.headers["Location"].endswith(f"/sessions/{answer['session_id']}")
    assert (answer["created"], answer["recovered"], answer["recovery"]) == (True, False, None)
    assert session["session_id"] == answer["session_id"]
    assert (session["key"], session["state"], session["in_use"]) == ("account-17", "ready", False)
    assert (session["idle_timeout"], session["keep_alive"], session["lease"]) == (600, None, None)
    assert (session["recoveries"], session["last_recovery"]) == (0, None)
    assert to_epoch(session["created_at"]) <= to_epoch(session["last_used"]) <= time.time() + 1
    assert session["health"]["status"] in {"healthy", "unknown"}
    assert {"reason", "checked_at", "latency_ms"} <= session["health"].keys()
    assert {"current_url", "memory_mb"} <= session.keys()


def test_a_session_without_a_body_gets_the_defaults(service: Service) -> None:
    session = expect(service.post("/sessions"), 201)["session"]
    assert (session["key"], session["idle_timeout"]) == (None, 1800)


def test_driver_and_browser_are_real_and_reachable_directly(service: Service, pages: Pages) -> None:
    session = service.create(session_id="direct")
    driver, browser = session["driver"], session["browser"]
    assert requests.get(f"{driver['url']}/status", timeout=5).json()["value"]["ready"] is True
    version = requests.get(f"http://{browser['debugger_address']}/json/version", timeout=5).json()
    assert version["Browser"].endswith(browser["version"])
    assert psutil.Process(browser["pid"]).ppid() == driver["pid"]
    client = Driver(session)
    client.open(pages.url("/form"))
    assert client.run("return document.title") == "Form"


def test_an_id_always_leads_to_the_same_session(service: Service) -> None:
    first = service.create(session_id="Job_1-a")
    answer = expect(service.post("/sessions", json={"session_id": "Job_1-a"}))
    assert (answer["created"], answer["recovered"]) == (False, False)
    assert answer["session"]["browser"]["pid"] == first["browser"]["pid"]
    assert answer["session"]["session_id"] == answer["session_id"] == "Job_1-a"


def test_a_key_always_leads_to_the_same_session(service: Service) -> None:
    first = service.create(key="a key, with ümlauts / and more")
    answer = expect(service.post("/sessions", json={"key": "a key, with ümlauts / and more"}))
    assert answer["session_id"] == first["session_id"]
    assert answer["session"]["browser"]["pid"] == first["browser"]["pid"]


def test_an_id_and_a_key_of_two_sessions_are_a_conflict(service: Service) -> None:
    one, other = service.create(session_id="one", key="k1"), service.create(session_id="other", key="k2")
    expect_error(service.post("/sessions", json={"session_id": "one", "key": "k2"}), 409, "key_conflict")
    assert posted(service, key="k1")["session_id"] == one["session_id"]
    assert posted(service, key="k2")["session_id"] == other["session_id"]


def test_closing_a_session_frees_its_key(service: Service) -> None:
    first = service.create(key="again")
    expect(service.delete(f"/sessions/{first['session_id']}"))
    second = expect(service.post("/sessions", json={"key": "again"}), 201)["session"]
    assert second["browser"]["pid"] != first["browser"]["pid"]


@pytest.mark.parametrize("name", ["session_id", "key"])
def test_concurrent_clients_with_one_id_get_one_browser(service: Service, name: str) -> None:
    answers = run_concurrently([lambda: posted(service, **{name: "shared"})] * CLIENTS)
    assert [answer["created"] for answer in answers].count(True) == 1
    assert len({answer["session_id"] for answer in answers}) == 1
    assert len({answer["session"]["browser"]["pid"] for answer in answers}) == 1
    assert len(service.listed()) == 1
    assert len(service.session_folders()) == 1


def test_sessions_that_start_together_share_nothing(service: Service) -> None:
    sessions = run_concurrently([service.create] * 4)
    assert len({session["session_id"] for session in sessions}) == len(sessions)
    assert len({session["driver"]["pid"] for session in sessions}) == len(sessions)
    assert len({folder_of(session) for session in sessions}) == len(sessions)
    assert service.listed().keys() == {session["session_id"] for session in sessions}


def test_the_list_reports_the_capacity(service: Service) -> None:
    session = service.create()
    answer = expect(service.get("/sessions"))
    assert (answer["active_sessions"], answer["max_sessions"], answer["session_capacity"]) == (1, 10, "1/10")
    assert [entry["session_id"] for entry in answer["sessions"]] == [session["session_id"]]
    assert answer["sessions"][0]["driver"] == session["driver"]


def test_reading_a_session_checks_its_health(service: Service) -> None:
    session = service.create(session_id="read")
    answer = expect(service.get("/sessions/read"))
    assert (answer["created"], answer["recovered"], answer["recovery"]) == (False, False, None)
    health = answer["session"]["health"]
    assert (health["status"], health["reason"]) == ("healthy", None)
    assert health["latency_ms"] >= 0
    assert to_epoch(health["checked_at"]) >= to_epoch(session["created_at"])
    assert answer["session"]["last_used"] == session["last_used"]


def test_retrieving_a_session_counts_as_use_and_reading_does_not(service: Service) -> None:
    first = service.create(session_id="used")
    expect(service.get("/sessions/used"))
    assert service.report("used")["last_used"] == first["last_used"]
    later = posted(service, session_id="used")["session"]
    assert to_epoch(later["last_used"]) > to_epoch(first["last_used"])


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_session_is_not_found(service: Service, method: str) -> None:
    sentence = expect_error(service.request(method, "/sessions/unknown"), 404, "session_not_found")
    assert "unknown" in sentence
    assert service.listed() == {}


@pytest.mark.parametrize("session_id", BAD_IDS)
def test_a_bad_id_is_refused_by_name(service: Service, session_id: str) -> None:
    response = service.post("/sessions", json={"session_id": session_id})
    expect_error(response, 400, "invalid_request")
    assert "session_id" in response.json()["details"]


@pytest.mark.parametrize("path", ["-x", "a%20b", "%2e%2e%2fetc", "é", "x" * 65, "a%00b"])
def test_a_bad_id_in_a_path_finds_nothing(service: Service, path: str) -> None:
    response = service.get(f"/sessions/{path}")
    assert response.status_code in {400, 404}
    assert expect(response, response.status_code)["code"] in {
        "invalid_request",
        "not_found",
        "session_not_found",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", 7),
        ("session_id", ["a"]),
        ("key", ""),
        ("key", "k" * 257),
        ("key", 5),
        ("url", "ftp://example.org/"),
        ("url", "file:///etc/passwd"),
        ("url", "javascript:alert(1)"),
        ("url", "example.org"),
        ("url", ""),
        ("idle_timeout", -1),
        ("idle_timeout", "soon"),
        ("idle_timeout", True),
        ("capabilities", []),
        ("capabilities", "none"),
        ("sesion_id", "typing error"),
        ("keep_alive", "http://localhost/"),
        ("lease", 60),
    ],
)
def test_a_bad_or_unknown_field_is_refused_by_name(service: Service, field: str, value: object) -> None:
    response = service.post("/sessions", json={field: value})
    sentence = expect_error(response, 400, "invalid_request")
    assert field in response.json()["details"]
    assert field in sentence
    assert service.listed() == {}


def test_the_first_page_is_opened_only_at_creation(service: Service, pages: Pages) -> None:
    first = pages.url("/?first")
    session = expect(service.post("/sessions", json={"session_id": "url", "url": first}), 201)["session"]
    client = Driver(session)
    assert client.address() == first
    client.open(pages.url("/form"))
    expect(service.post("/sessions", json={"session_id": "url", "url": first}))
    assert client.address() == pages.url("/form")
    assert expect(service.get("/sessions/url"))["session"]["current_url"] == pages.url("/form")


def test_an_unreachable_first_page_does_not_prevent_a_session(service: Service) -> None:
    session = service.create(url="http://127.0.0.1:1/")
    assert Driver(session).run("return 1 + 1") == 2


def test_a_slow_start_keeps_its_place_and_blocks_no_other_request(service: Service, slow_page: Gate) -> None:
    def start_slowly() -> Json:
        return expect(service.post("/sessions", json={"session_id": "slow", "url": slow_page.url}), 201)

    def use_other_routes() -> Json:
        with slow_page.while_it_loads():
            listed = service.listed()["slow"]
            service.create(session_id="quick")
        return listed

    answer, listed = run_both(start_slowly, use_other_routes)
    assert listed["state"] in {"starting", "ready"}
    assert answer["created"] is True
    assert Driver(answer["session"]).address() == slow_page.url


def test_deleting_a_session_removes_everything_of_it(service: Service) -> None:
    session = service.create(session_id="gone")
    pids, folder = pids_of(session), folder_of(session)
    assert {session["driver"]["pid"], session["browser"]["pid"]} <= pids
    answer = expect(service.delete("/sessions/gone"))
    assert (answer["message"], answer["session_id"]) == ("Session gone closed", "gone")
    assert answer["active_sessions"] == 0
    assert living(pids) == set()
    assert not folder.exists()
    expect_error(service.delete("/sessions/gone"), 404, "session_not_found")


def test_concurrent_deletes_of_one_session_succeed(service: Service) -> None:
    session = service.create(session_id="hunted")
    pids = pids_of(session)
    codes = [
        response.status_code
        for response in run_concurrently([lambda: service.delete("/sessions/hunted")] * 8)
    ]
    assert set(codes) <= {200, 404}
    assert 200 in codes
    assert living(pids) == set()
    assert service.listed() == {}


def test_a_session_can_be_deleted_during_a_page_load(service: Service, slow_page: Gate) -> None:
    session = service.create(session_id="loading")
    pids = pids_of(session)

    def load() -> None:
        with contextlib.suppress(requests.ConnectionError, AssertionError):
            Driver(session).open(slow_page.url)

    def delete() -> None:
        slow_page.wait_until_requested()
        expect(service.delete("/sessions/loading", timeout=15))
        assert living(pids) == set()

    run_both(load, delete)


def test_a_trailing_slash_changes_nothing(service: Service) -> None:
    expect(service.post("/sessions/", json={"session_id": "slash"}), 201)
    assert "slash" in {entry["session_id"] for entry in expect(service.get("/sessions/"))["sessions"]}
    expect(service.get("/sessions/slash/"))
    expect(service.delete("/sessions/slash/"))


def test_a_session_folder_has_a_unique_name_and_is_private(service: Service) -> None:
    session = service.create(session_id="secret-name", key="secret-key")
    folder = folder_of(session)
    assert folder.parent == service.data_dir / "s"
    assert re.fullmatch(r"[a-z0-9]{8}", folder.name)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    command_lines = [" ".join(psutil.Process(pid).cmdline()) for pid in pids_of(session)]
    assert not [line for line in command_lines if "secret" in line]


@pytest.mark.skipif(sys.platform == "win32", reason="process sessions are POSIX")
def test_chromedriver_is_not_affected_by_ctrl_c_and_logs_no_passwords(service: Service) -> None:
    driver = service.create()["driver"]["pid"]
    assert os.getsid(driver) == driver
    assert "--log-level=WARNING" in psutil.Process(driver).cmdline()


def test_child_processes_get_no_drover_variables(service: Service) -> None:
    session = service.create()
    for pid in (session["driver"]["pid"], session["browser"]["pid"]):
        assert not [name for name in psutil.Process(pid).environ() if name.startswith("DROVER_")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="Chrome's sandbox works here")
def test_a_missing_sandbox_is_logged_once(service: Service) -> None:
    run_concurrently([service.create] * 2)
    assert (
        len([line for line in service.messages() if "--no-sandbox" in line and line.startswith("WARNING")])
        == 1
    )


def test_reading_an_idle_session_does_not_extend_its_timeout(service: Service) -> None:
    session = service.create(session_id="idle", idle_timeout=IDLE_S)
    pids, folder = pids_of(session), folder_of(session)
    wait_until(lambda: service.get("/sessions/idle").status_code == 404, "the idle session ends")
    idle = time.time() - to_epoch(session["last_used"])
    assert IDLE_S <= idle <= IDLE_S + IDLE_SLACK_S
    wait_gone(pids)
    wait_until(lambda: not folder.exists(), "the folder is removed")


def test_a_session_in_use_does_not_time_out(service: Service) -> None:
    first = service.create(session_id="used", idle_timeout=IDLE_S)
    until = time.monotonic() + 2 * IDLE_S
    while time.monotonic() < until:
        answer = posted(service, session_id="used")
        assert answer["session"]["browser"]["pid"] == first["browser"]["pid"]
        time.sleep(IDLE_S / 8)


def test_the_least_recently_used_session_is_evicted(start_service: StartService) -> None:
    service = start_service(max_sessions=2)
    oldest, second = service.create(session_id="oldest"), service.create(session_id="second")
    evicted = pids_of(second)
    posted(service, session_id="oldest")
    service.create(session_id="newest")
    assert service.listed().keys() == {"oldest", "newest"}
    assert service.report("oldest")["browser"]["pid"] == oldest["browser"]["pid"]
    wait_gone(evicted)


@pytest.mark.exhaustive
def test_concurrent_clients_never_get_more_browsers_than_the_limit(start_service: StartService) -> None:
    service = start_service(max_sessions=2, queue_timeout=20)

    def one(number: int) -> requests.Response:
        response = service.post("/sessions", json={"session_id": f"c{number}"})
        assert len(service.listed()) <= 2
        assert len(service.session_folders()) <= 2 + 1  # one that is just being closed
        return response

    for response in run_concurrently([partial(one, number) for number in range(5)]):
        if response.status_code != 201:
            expect_error(response, 503, "at_capacity")
    assert len(service.listed()) == 2


def test_at_capacity_a_client_waits_at_most_the_queue_timeout(
    start_service: StartService, slow_page: Gate
) -> None:
    service = start_service(max_sessions=1, queue_timeout=1)

    def occupy() -> Json:
        return expect(service.post("/sessions", json={"session_id": "slow", "url": slow_page.url}), 201)

    def wait_for_a_place() -> None:
        with slow_page.while_it_loads():
            response = service.post("/sessions", json={"session_id": "late"}, timeout=10)
        expect_error(response, 503, "at_capacity")

    run_both(occupy, wait_for_a_place)
    assert service.listed().keys() == {"slow"}


def test_many_waiting_clients_block_no_other_request(service: Service, slow_page: Gate) -> None:
    def call_concurrently() -> list[requests.Response]:
        call = partial(service.post, "/sessions", json={"session_id": "wanted", "url": slow_page.url})
        return run_concurrently([call] * 90)

    def read_other_routes() -> None:
        with slow_page.while_it_loads():
            for path in ("/health", "/sessions", "/processes"):
                assert service.get(path, timeout=10).ok

    responses, _ = run_both(call_concurrently, read_other_routes)
    refused = [response for response in responses if not response.ok]
    assert refused
    for response in refused:
        expect_error(response, 503, "overloaded")
        assert int(response.headers["Retry-After"]) > 0
    assert [response.status_code for response in responses].count(201) == 1
    assert service.listed().keys() == {"wanted"}


@pytest.mark.parametrize(
    "fault", [Fault.REFUSES_TO_START, Fault.REFUSES_SESSION, Fault.BROWSER_DIES_AT_START]
)
def test_a_failed_start_reports_its_cause_and_leaves_nothing(
    start_service: StartService, folder: Path, fault: Fault
) -> None:
    fake = install(folder)
    (folder / "control").write_text(fault.value, encoding="utf-8")
    service = start_service(chromedriver=fake)
    sentence = expect_error(service.post("/sessions", json={}), 503, "browser_unavailable")
    assert fault is not Fault.REFUSES_TO_START or START_ERROR in sentence
    assert service.listed() == {}
    assert (service.processes(), service.session_folders()) == ([], [])
