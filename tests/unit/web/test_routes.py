"""REST routes over fake services: requests, responses and messages."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drover.api.session_answers import SessionObject
from drover.browser.health import Cause, Health, HealthStatus
from drover.browser.recovery import Method, Recovery
from drover.core import errors
from drover.core.deadline import ClientDisconnected, Deadline, DeadlineExceeded
from drover.core.errors import DroverError
from drover.core.settings import Settings
from drover.net.addresses import Addresses
from drover.processes.cleanup.chrome_names import Role
from drover.processes.cleanup.cleanup_plan import CleanupPlan, Judgement, Verdict
from drover.processes.table import ProcessRow
from drover.processes.termination import Outcome
from drover.server.service import Drover
from drover.sessions.pool.acquire_request import Acquired, AcquireRequest
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from process_cleanup import (
    CleanupReport,
    EmergencyRecovery,
    EmergencyReport,
    Failed,
    Killed,
    ProcessCleaner,
    Trigger,
)
from session_manager import SessionManager
from tests.unit.core.test_errors import ALL
from tests.unit.examples import NOW, RUNNING, MemoryJournal, ready, session
from tests.unit.web.rest_client import RestClient, Served

STAMP = "2026-11-22T19:40:00.123Z"
RECOVERY = Recovery(Cause.DRIVER_GONE, Method.REATTACHED, 2, 131)
READY = session("a", state=SessionState.READY, running=RUNNING, key="k", current_url="http://example.com/")


class FakeManager:
    """A manager that returns one session and records its calls."""

    def __init__(self, *, created: bool = False, recovery: Recovery | None = None) -> None:
        self.registry = SessionRegistry(10, 4, MemoryJournal())
        self.requests: list[AcquireRequest] = []
        self.calls: list[tuple[str, str]] = []
        self.deadlines: list[Deadline] = []
        self.no_browser: str | None = None
        self._created = created
        self._recovery = recovery

    @property
    def unavailable(self) -> str | None:
        return "the service is stopping" if self.registry.stopping else self.no_browser

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        self.requests.append(request)
        self.deadlines.append(deadline)
        return Acquired(READY, self._created, self._recovery)

    def check(self, session_id: str, deadline: Deadline) -> Acquired:
        self.calls.append(("check", session_id))
        return Acquired(READY, created=False, recovery=self._recovery)

    def report(self, session_id: str, deadline: Deadline) -> Session:
        self.calls.append(("report", session_id))
        return READY

    def close(self, session_id: str, deadline: Deadline, *, keep: bool) -> None:
        self.calls.append(("close and keep" if keep else "close", session_id))

    def screenshot(self, session_id: str, deadline: Deadline, *, recover: bool) -> bytes:
        self.calls.append(("screenshot", session_id))
        return b"\x89PNG"


class FakeEmergency:
    """An emergency recovery that returns a report."""

    def __init__(self, report: EmergencyReport | None = None) -> None:
        done = CleanupReport(killed=(killed(1234), killed(5678)), removed_profiles=1, duration_ms=84)
        self._report = report or EmergencyReport(done)

    def run(self, _: Deadline) -> EmergencyReport:
        return self._report


class RefusingManager(FakeManager):
    """A manager that raises one error on every call."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        raise self._error

    def check(self, session_id: str, deadline: Deadline) -> Acquired:
        raise self._error


class HangingManager(FakeManager):
    """A manager that waits until the deadline or a disconnect."""

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        never: Future[Acquired] = Future()
        return deadline.wait(never)


class FakeCleaner:
    """A cleaner that returns a report and records its calls."""

    def __init__(self, report: CleanupReport | None = None) -> None:
        self.asked: list[tuple[Trigger, bool]] = []
        self._report = report or CleanupReport()

    def cleanup(self, trigger: Trigger, *, dry_run: bool, deadline: Deadline) -> CleanupReport:
        assert deadline.remaining() > 0
        self.asked.append((trigger, dry_run))
        return replace(self._report, dry_run=dry_run)

    def survey(self) -> CleanupPlan:
        return CleanupPlan((judgement(7),))


class FailingCleaner(FakeCleaner):
    """A cleaner whose cleanup fails."""

    def cleanup(self, trigger: Trigger, *, dry_run: bool, deadline: Deadline) -> CleanupReport:
        raise PermissionError("secret detail")


def judgement(pid: int, *, own_user: bool = True) -> Judgement:
    row = ProcessRow(
        pid, 1, 1.0, "chromedriver", own_user=own_user, memory_mb=12.345, age_s=3.25, exe="/x/chromedriver"
    )
    return Judgement(row, Role.DRIVER, Verdict.ORPHAN, "nobody's", None)


def killed(pid: int) -> Killed:
    return Killed(judgement(pid), Outcome.ENDED)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Return the application; each test installs its own manager and cleaner."""
    return Served(Drover(Settings(data_dir=tmp_path_factory.mktemp("d"))))


@pytest.fixture
def client(served: Served) -> RestClient:
    serve(served, FakeManager())
    return RestClient(served.application)


def serve(
    served: Served,
    manager: FakeManager | None = None,
    cleaner: FakeCleaner | None = None,
    emergency: EmergencyReport | None = None,
) -> FakeManager:
    """Install a manager, a cleaner and an emergency recovery behind the routes; return the manager."""
    before = served.services
    manager = manager or FakeManager()
    chosen = cast("SessionManager", manager), cast("ProcessCleaner", cleaner or FakeCleaner())
    recovery = cast("EmergencyRecovery", FakeEmergency(emergency))
    served.services = replace(
        before, manager=chosen[0], sessions=manager.registry, cleaner=chosen[1], emergency=recovery
    )
    return manager


def post(client: RestClient, body: object, path: str = "/sessions") -> tuple[int, dict[str, Any]]:
    answer = client.post(path, data=json.dumps(body))
    told: dict[str, Any] = json.loads(answer.data)
    return answer.status_code, told


def test_a_created_session_is_returned_with_its_location(served: Served, client: RestClient) -> None:
    serve(served, FakeManager(created=True))
    answer = client.post("/sessions")
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith("/sessions/a")
    told = json.loads(answer.data)
    assert (told["success"], told["created"], told["recovered"], told["recovery"]) == (
        True,
        True,
        False,
        None,
    )
    assert told["session_id"] == told["session"]["session_id"] == "a"


def test_a_recovered_session_is_returned_with_its_recovery(served: Served, client: RestClient) -> None:
    serve(served, FakeManager(recovery=RECOVERY))
    status, told = post(client, {})
    assert status == 200
    assert told["recovered"] is True
    assert told["recovery"] == {
        "cause": "driver_gone",
        "method": "reattached",
        "orphans_killed": 2,
        "duration_ms": 131,
        "lost": [],
        "state_restored": True,
    }


def test_a_session_has_every_field_of_the_contract(client: RestClient) -> None:
    told = post(client, {})[1]["session"]
    assert set(told) >= {
        *("session_id", "key", "state", "in_use", "created_at", "last_used", "idle_timeout", "keep_alive"),
        *("lease", "recoveries", "last_recovery", "health", "current_url", "memory_mb", "driver", "browser"),
        *("webdriver_url", "cdp_url"),
    }
    assert (told["state"], told["in_use"], told["created_at"], told["key"]) == ("ready", False, STAMP, "k")
    assert told["health"] == {"status": "unknown", "reason": None, "checked_at": None, "latency_ms": None}
    assert told["driver"] == {"pid": 4711, "url": "http://127.0.0.1:41234", "session_id": "d1"}
    assert told["browser"] == {
        "pid": 4720,
        "version": "156.0.8078.79",
        "debugger_address": "127.0.0.1:39999",
    }


def test_a_request_is_passed_on_checked_and_with_defaults(served: Served, client: RestClient) -> None:
    manager = serve(served)
    body = {
        "session_id": "job-1",
        "key": "account 17 ✓",
        "url": "https://example.com/",
        "idle_timeout": 5,
        "capabilities": {"pageLoadStrategy": "eager"},
    }
    assert post(client, body)[0] == 200
    assert post(client, {})[0] == 200
    first, second = manager.requests
    assert (first.session_id, first.key, first.url) == ("job-1", "account 17 ✓", "https://example.com/")
    assert first.capabilities.capabilities == {"pageLoadStrategy": "eager"}
    assert first.idle_timeout == 5
    assert (second.session_id, second.key, second.url) == (None, None, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"session_id": ""}, "session_id"),
        ({"session_id": "_a"}, "session_id"),
        ({"session_id": "a/b"}, "session_id"),
        ({"session_id": "a\n"}, "session_id"),
        ({"session_id": "x" * 65}, "session_id"),
        ({"session_id": 7}, "session_id"),
        ({"key": ""}, "key"),
        ({"key": "x" * 257}, "key"),
        ({"key": 1}, "key"),
        ({"key": "\ud800"}, "key"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"url": "example.com"}, "url"),
        ({"url": ""}, "url"),
        ({"idle_timeout": -1}, "idle_timeout"),
        ({"idle_timeout": "5"}, "idle_timeout"),
        ({"idle_timeout": True}, "idle_timeout"),
        ({"idle_timeout": float("inf")}, "idle_timeout"),
        ({"idle_timeout": float("nan")}, "idle_timeout"),
        ({"idle_timeout": 10**400}, "idle_timeout"),
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": {"timeouts": 5}}, "capabilities.timeouts"),
        ({"sesion_id": "a"}, "sesion_id"),
    ],
)
def test_a_bad_field_is_refused_by_name(client: RestClient, body: dict[str, object], field: str) -> None:
    status, told = post(client, body)
    assert (status, told["success"], told["code"]) == (400, False, "invalid_request")
    assert field in told["error"]
    assert field in told["details"]


def test_a_field_whose_name_is_a_lone_surrogate_is_refused(client: RestClient) -> None:
    for body in ({"\ud800": 1}, {"capabilities": {"\ud800": 1}}):
        status, told = post(client, body)
        assert (status, told["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b'"text"', b"1", b"\xff\xfe", b"[" * 100_000, b'{"a":1}{', b"1" * 5000],
    ids=["open", "list", "null", "text", "number", "no utf-8", "deep", "two", "long number"],
)
def test_a_body_that_is_not_a_json_object_is_refused(client: RestClient, body: bytes) -> None:
    answer = client.post("/sessions", data=body)
    told = json.loads(answer.data)
    assert (answer.status_code, told["code"]) == (400, "invalid_request")
    assert "Send an object such as {}" in told["error"]


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}"])
def test_an_empty_body_is_an_empty_object(client: RestClient, body: bytes) -> None:
    assert client.post("/sessions", data=body).status_code == 200


def test_a_body_that_is_not_declared_as_json_is_refused_with_a_working_command(client: RestClient) -> None:
    answer = client.post(
        "/sessions", data=b"{}", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 415
    assert "curl -X POST -H 'Content-Type: application/json'" in json.loads(answer.data)["error"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/sessions", "?session_id=a"),
        ("/sessions/a", "?recovr=false"),
        ("/sessions/a", "?recover=perhaps"),
        ("/sessions/a", "?recover=true&recover=false"),
        ("/health", "?verbose=1"),
        ("/processes", "?all=1"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(client: RestClient, path: str, query: str) -> None:
    answer = client.get(path + query)
    assert answer.status_code == 400
    assert query[1:].partition("=")[0] in json.loads(answer.data)["error"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_works_with_and_without_a_trailing_slash(
    served: Served, client: RestClient, slash: str
) -> None:
    manager = serve(served)
    assert client.get("/sessions/a" + slash).status_code == 200
    assert client.get(f"/sessions/a{slash}?recover=false").status_code == 200
    picture = client.get("/sessions/a/screenshot" + slash)
    assert (picture.mimetype, picture.data) == ("image/png", b"\x89PNG")
    told = json.loads(client.delete("/sessions/a" + slash).data)
    assert told == {
        "success": True,
        "message": "Session a closed",
        "session_id": "a",
        "active_sessions": 0,
    }
    assert manager.calls == [("check", "a"), ("report", "a"), ("screenshot", "a"), ("close", "a")]


def test_the_list_counts_the_sessions(served: Served, client: RestClient) -> None:
    manager = serve(served)
    for name in ("b", "a"):
        ready(manager.registry, name)
    told = json.loads(client.get("/sessions").data)
    assert [listed["session_id"] for listed in told.pop("sessions")] == ["b", "a"]
    assert told == {"success": True, "active_sessions": 2, "max_sessions": 10, "session_capacity": "2/10"}


def listed(client: RestClient, query: str) -> tuple[list[str], object]:
    """List the sessions; return their ids and the beginning of the next page."""
    answer = json.loads(client.get(f"/sessions?{query}").data)
    assert answer["active_sessions"] == 4
    return [one["session_id"] for one in answer["sessions"]], answer.get("next", "none")


def test_the_list_is_filtered_and_paged(served: Served, client: RestClient) -> None:
    manager = serve(served)
    for name in ("d", "b", "c"):
        ready(manager.registry, name)
    manager.registry.adopt(session("a", key="account"))
    assert listed(client, "limit=3") == (["a", "b", "c"], "c")
    assert listed(client, "limit=3&after=c") == (["d"], None)
    assert listed(client, "limit=4") == (["a", "b", "c", "d"], None)
    assert listed(client, "after=b") == (["c", "d"], "none")
    assert listed(client, "after=bb&limit=1") == (["c"], "c")
    assert listed(client, "key=account") == (["a"], "none")
    assert listed(client, "key=another") == ([], "none")
    assert listed(client, "state=starting") == (["a"], "none")
    assert listed(client, "state=ready&limit=2") == (["b", "c"], "c")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1001", "state=dead", "key=", "after=/", "page=2"]
)
def test_a_query_of_the_list_that_makes_no_sense_is_refused(
    served: Served, client: RestClient, query: str
) -> None:
    serve(served)
    answer = client.get(f"/sessions?{query}")
    assert (answer.status_code, json.loads(answer.data)["code"]) == (400, "invalid_request")


def test_a_list_that_has_not_changed_is_not_sent_again(served: Served, client: RestClient) -> None:
    manager = serve(served)
    ready(manager.registry, "a")
    tag = client.get("/sessions").headers["ETag"]
    same = client.get("/sessions", headers={"If-None-Match": tag})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", tag)
    ready(manager.registry, "b")
    assert client.get("/sessions", headers={"If-None-Match": tag}).status_code == 200


def test_a_list_of_several_machines_is_not_sent_again_if_only_its_copy_is_newer(
    served: Served, client: RestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(second: int, **fields: Any) -> Any:  # noqa: ANN401 - stands for a cluster
        addresses = Addresses.of_node("n", "http://n")
        other = SessionObject.of(session("other", **fields), addresses)
        as_of = NOW.replace(second=second)
        others = (other.model_copy(update={"as_of": as_of}),)
        return SimpleNamespace(addresses=addresses, others=others, nodes=(), is_complete=True)

    def show(cluster: Any) -> None:  # noqa: ANN401 - as above
        monkeypatch.setattr(served, "services", replace(served.services, cluster=cluster))

    serve(served)
    show(copied(1))
    tag = client.get("/sessions").headers["ETag"]
    assert tag.startswith("W/")
    show(copied(2))
    same = client.get("/sessions", headers={"If-None-Match": tag})
    assert (same.status_code, same.headers["ETag"]) == (304, tag)
    show(copied(2, key="new"))
    assert client.get("/sessions", headers={"If-None-Match": tag}).status_code == 200


def test_a_health_check_is_returned(served: Served, client: RestClient) -> None:
    manager = serve(served)
    busy = Health(HealthStatus.BUSY, "a command is running", NOW, 3)
    manager.registry.note(ready(manager.registry, "a"), health=busy)
    (listed,) = json.loads(client.get("/sessions").data)["sessions"]
    assert listed["health"] == {
        "status": "busy",
        "reason": "a command is running",
        "checked_at": STAMP,
        "latency_ms": 3,
    }


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_answered_with_its_status_code_and_message(
    served: Served, client: RestClient, error: type[DroverError]
) -> None:
    serve(served, RefusingManager(error("Do this", {"field": "problem"})))
    answer = client.post("/sessions")
    assert answer.status_code == error.status
    assert json.loads(answer.data) == {
        "success": False,
        "error": "Do this",
        "code": error.code,
        "details": {"field": "problem"},
    }
    assert ("Retry-After" in answer.headers) == (error.status == 503)
    assert ("WWW-Authenticate" in answer.headers) == (error is errors.Unauthorized)


def test_an_unexpected_error_exposes_no_secret_and_no_stack_trace(
    served: Served, client: RestClient, caplog: pytest.LogCaptureFixture
) -> None:
    serve(served, RefusingManager(RuntimeError("/secret/path")))
    answer = client.post("/sessions")
    told = json.loads(answer.data)
    assert (answer.status_code, told["success"], told["code"]) == (500, False, "internal_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "RuntimeError" in caplog.text


def test_an_exceeded_deadline_is_reported_as_such(served: Served, client: RestClient) -> None:
    serve(served, RefusingManager(DeadlineExceeded()))
    status, told = post(client, {})
    assert (status, told["code"]) == (503, "browser_unavailable")


def test_a_disconnected_client_gets_no_response(served: Served, client: RestClient) -> None:
    serve(served, RefusingManager(ClientDisconnected()))
    assert client.post("/sessions").status_code == 0


def test_a_wait_ends_when_the_client_disconnects(served: Served, client: RestClient) -> None:
    serve(served, HangingManager())
    assert client.post("/sessions", leaves=True).status_code == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/sessions/a/b/c", 404, "not_found"),
        ("PUT", "/sessions", 405, "method_not_allowed"),
        ("POST", "/sessions/a", 405, "method_not_allowed"),
        ("GET", "/emergency_recovery", 405, "method_not_allowed"),
        ("GET", "/cleanup_orphaned_processes", 405, "method_not_allowed"),
        ("GET", "/sessions//a", 404, "not_found"),
    ],
)
def test_an_unknown_route_is_answered_in_json(
    client: RestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.mimetype) == (status, "application/json")
    told = json.loads(answer.data)
    assert (told["success"], told["code"]) == (False, code)
    assert (status == 405) == ("Allow" in answer.headers)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "forbidden_host"),
        ({"Origin": "https://evil.example"}, "forbidden_origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "forbidden_origin"),
    ],
)
@pytest.mark.parametrize("path", ["/sessions", "/nothing", "/health"])
def test_access_is_checked_before_any_route(
    client: RestClient, headers: dict[str, str], code: str, path: str
) -> None:
    answer = client.get(path, headers=headers)
    assert (answer.status_code, json.loads(answer.data)["code"]) == (403, code)


def test_with_a_token_only_health_is_open(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "api_token": "long-token"})
    client = RestClient(Served(Drover(settings)).application)
    refused = client.get("/sessions")
    assert (refused.status_code, json.loads(refused.data)["code"]) == (401, "unauthorized")
    assert "WWW-Authenticate" in refused.headers
    assert client.get("/sessions", headers={"Authorization": "Bearer long-token"}).status_code == 200
    assert client.get("/health").status_code == 200


def test_a_cleanup_is_answered_as_in_the_specification(served: Served, client: RestClient) -> None:
    cleaner = FakeCleaner(
        CleanupReport(killed=(killed(1), killed(2), killed(3)), removed_profiles=2, freed_mb=812.04)
    )
    serve(served, cleaner=cleaner)
    status, told = post(client, {}, "/cleanup_orphaned_processes")
    assert status == 200
    assert told["success"] is True
    assert told["message"] == "Cleaned up 3 orphaned processes"
    assert (told["killed_count"], told["active_sessions"], told["dry_run"]) == (3, 0, False)
    assert told["killed"][0] == {"pid": 1, "name": "chromedriver", "role": "driver", "reason": "nobody's"}
    assert (told["failed"], told["removed_profiles"], told["freed_mb"]) == ([], 2, 812.0)
    assert cleaner.asked == [(Trigger.PERSON, False)]


def test_a_dry_run_ends_nothing_and_reports_what_it_would(served: Served, client: RestClient) -> None:
    cleaner = FakeCleaner(CleanupReport(killed=(killed(1),)))
    serve(served, cleaner=cleaner)
    status, told = post(client, {}, "/cleanup_orphaned_processes?dry_run=true")
    assert (status, told["dry_run"], told["killed_count"]) == (200, True, 0)
    assert [one["pid"] for one in told["killed"]] == [1]
    assert cleaner.asked == [(Trigger.PERSON, True)]


def test_an_incomplete_cleanup_is_a_failure(served: Served, client: RestClient) -> None:
    report = CleanupReport(killed=(killed(1),), failed=(Failed(judgement(2), "it is still there"),))
    serve(served, cleaner=FakeCleaner(report))
    status, told = post(client, {}, "/cleanup_orphaned_processes")
    assert (status, told["success"], told["code"]) == (500, False, "cleanup_incomplete")
    assert "PID 2" in told["error"]
    assert told["failed"][0]["reason"] == "it is still there"
    assert told["killed_count"] == 1


def test_a_failed_cleanup_is_answered_in_json(served: Served, client: RestClient) -> None:
    serve(served, cleaner=FailingCleaner())
    status, told = post(client, {}, "/cleanup_orphaned_processes")
    assert (status, told["success"], told["code"]) == (500, False, "internal_error")
    assert "secret" not in told["error"]


def test_a_misspelt_dry_run_cleans_up_nothing(served: Served, client: RestClient) -> None:
    cleaner = FakeCleaner()
    serve(served, cleaner=cleaner)
    for path, body in (("?dryrun=true", {}), ("?dry_run=maybe", {}), ("", {"dry_run": True})):
        assert post(client, body, f"/cleanup_orphaned_processes{path}")[0] == 400
    assert cleaner.asked == []


def test_an_emergency_is_answered_as_in_the_specification(client: RestClient) -> None:
    status, told = post(client, {}, "/emergency_recovery")
    assert status == 200
    assert told["success"] is True
    assert told["message"] == "Emergency recovery completed - killed 2 processes and cleared all sessions"
    assert told["warning"] == "All Chrome browsers have been closed"
    assert (told["killed_count"], told["active_sessions"], told["removed_profiles"]) == (2, 0, 1)
    assert told["cleared"] is True


@pytest.mark.parametrize("failed", [(), (Failed(judgement(9), "denied"),)])
def test_an_emergency_that_could_not_clear_the_disk_says_so(
    served: Served, client: RestClient, failed: tuple[Failed, ...]
) -> None:
    report = EmergencyReport(CleanupReport(failed=failed), cleared=False)
    serve(served, emergency=report)
    status, told = post(client, {}, "/emergency_recovery")
    assert (status, told["success"], told["code"], told["cleared"]) == (
        500,
        False,
        "cleanup_incomplete",
        False,
    )
    assert "could not be deleted from the disk" in told["error"]
    assert ("PID 9" in told["error"]) == bool(failed)
    assert "cleared all sessions" not in told["message"]


@pytest.mark.parametrize(("own_user", "status"), [(False, 200), (True, 500)])
def test_in_an_emergency_only_a_survivor_of_the_own_user_is_a_failure(
    served: Served, client: RestClient, own_user: bool, status: int
) -> None:
    failed = Failed(judgement(9, own_user=own_user), "denied")
    serve(served, emergency=EmergencyReport(CleanupReport(failed=(failed,))))
    answered, told = post(client, {}, "/emergency_recovery")
    assert (answered, told["success"]) == (status, status == 200)
    assert [one["pid"] for one in told["failed"]] == [9]


def test_processes_are_listed_with_their_verdict(client: RestClient) -> None:
    told = json.loads(client.get("/processes").data)
    assert told["success"] is True
    assert told["processes"] == [
        {
            "pid": 7,
            "ppid": 1,
            "name": "chromedriver",
            "role": "driver",
            "verdict": "orphan",
            "reason": "nobody's",
            "session_id": None,
            "memory_mb": 12.3,
            "age_s": 3.2,
        }
    ]


def test_health_counts_the_places_and_the_keys(served: Served, client: RestClient) -> None:
    manager = serve(served)
    ready(manager.registry, "a", key="k")
    ready(manager.registry, "b")
    answer = client.get("/health")
    told = json.loads(answer.data)
    assert (answer.status_code, told["status"], told["service"]) == (200, "healthy", "drover")
    assert (told["active_sessions"], told["max_sessions"], told["session_capacity"]) == (2, 10, "2/10")
    assert told["persistent_sessions"] == 1
    assert set(told) >= {"version", "uptime_s", "timestamp"}


def test_health_is_bad_while_the_service_is_stopping(served: Served, client: RestClient) -> None:
    serve(served).registry.stop()
    answer = client.get("/health")
    told = json.loads(answer.data)
    assert (answer.status_code, told["status"], told["reason"]) == (
        503,
        "unhealthy",
        "the service is stopping",
    )


def test_health_is_bad_if_no_browser_can_be_started(served: Served, client: RestClient) -> None:
    serve(served).no_browser = "Install Chrome"
    answer = client.get("/health")
    assert (answer.status_code, json.loads(answer.data)["reason"]) == (503, "Install Chrome")


def test_new_sessions_are_accepted_until_the_drain_or_the_stop(served: Served, client: RestClient) -> None:
    registry = serve(served).registry
    ready(registry, "a")
    assert json.loads(client.get("/ready").data) == {"success": True, "status": "ready", "active_sessions": 1}
    for refuse, status in ((registry.drain, "draining"), (registry.stop, "stopping")):
        refuse()
        answer = client.get("/ready")
        told = json.loads(answer.data)
        assert (answer.status_code, told["success"], told["code"]) == (503, False, "shutting_down")
        assert (told["status"], told["active_sessions"]) == (status, 1)
        assert status in told["error"]
        assert int(answer.headers["Retry-After"]) > 0


def test_a_service_that_drains_is_healthy(served: Served, client: RestClient) -> None:
    serve(served).registry.drain()
    assert client.get("/health").status_code == 200


def test_health_names_the_address_that_refuses_connections(served: Served, client: RestClient) -> None:
    serve(served)
    refusing = "127.0.0.1:5010 refuses connections"
    served.services = replace(served.services, port_trouble=lambda: refusing)
    answer = client.get("/health")
    assert (answer.status_code, json.loads(answer.data)["reason"]) == (503, refusing)
