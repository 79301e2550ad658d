"""The command line without a service: tables, JSON, exit codes, and errors if no instance answers."""

from __future__ import annotations

import http.client
import io
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from drover.api.reports import cleanup_answer
from drover.cli import commands
from drover.cli.doctor import Check, Status
from drover.core.errors import StartRefused
from drover.core.settings import Settings
from drover.net.access import reachable_host
from drover.processes.cleanup.chrome_names import Role
from drover.processes.cleanup.cleanup_plan import CleanupPlan, Judgement, Verdict
from drover.processes.termination import Outcome
from drover.storage.instance_lock import InstanceLock
from drover.storage.session_folders import SessionFolders
from process_cleanup import CleanupReport, Failed, Killed, ProcessCleaner
from tests.unit.tables import DRIVER, proc

ORPHAN = Judgement(proc(17, 1, DRIVER), Role.DRIVER, Verdict.ORPHAN, "of no session", None)
KILLED = CleanupReport(killed=(Killed(ORPHAN, Outcome.ENDED),), removed_profiles=2, freed_mb=81.24)
STUBBORN = CleanupReport(failed=(Failed(ORPHAN, "it survived"),))


@pytest.fixture(autouse=True)
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROVER_DATA_DIR", str(folder / "d"))
    monkeypatch.setenv("DROVER_PORT", "1")
    monkeypatch.setenv("DROVER_LOG_LEVEL", "error")
    monkeypatch.chdir(folder)
    return folder / "d"


def never(_: Settings) -> int:
    raise AssertionError("nothing is to be served")


def alone(
    monkeypatch: pytest.MonkeyPatch, report: CleanupReport, plan: CleanupPlan | None = None
) -> list[bool]:
    """Replace cleanups by a fixed report; return a list that records each cleanup's `dry_run`."""
    dry: list[bool] = []

    def cleanup(_: object, trigger: object, *, dry_run: bool) -> CleanupReport:
        dry.append(dry_run)
        return report

    monkeypatch.setattr(ProcessCleaner, "cleanup", cleanup)
    monkeypatch.setattr(ProcessCleaner, "survey", lambda _: plan)
    return dry


@contextmanager
def instance(home: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> Iterator[list[str]]:
    """Run a fake instance that locks the data folder and returns this response; yield its requests."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:  # noqa: ANN401
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setenv("DROVER_PORT", str(server.server_port))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with held(home):
        yield asked
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def held(home: Path) -> Iterator[None]:
    home.mkdir()
    lock = InstanceLock(home)
    lock.acquire()
    yield
    lock.release()


def test_without_a_command_the_service_runs_and_its_exit_code_is_returned() -> None:
    assert commands.run([], lambda settings: 42) == 42
    assert commands.run(["serve"], lambda settings: settings.port) == 1


def test_a_cleanup_without_an_instance_prints_a_table_and_succeeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dry = alone(monkeypatch, KILLED)
    assert commands.run(["cleanup"], never) == 0
    assert dry == [False]
    assert capsys.readouterr().out == (
        "Cleaned up 1 orphaned processes\n\n"
        "PID  ROLE    NAME          WHY\n"
        "17   driver  chromedriver  of no session\n\n"
        "Removed: 2 session folders; memory: 81.2 MB\n"
    )


def test_a_process_that_could_not_be_ended_is_printed_and_sets_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone(monkeypatch, STUBBORN)
    assert commands.run(["cleanup"], never) == 1
    said = capsys.readouterr().out
    assert "Could not be ended:" in said
    assert "17   driver  chromedriver  it survived" in said


def test_json_is_the_same_as_over_http(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone(monkeypatch, STUBBORN)
    assert commands.run(["cleanup", "--json"], never) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["success"], answer["code"]) == (False, "cleanup_incomplete")


def test_a_dry_run_ends_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    dry = alone(monkeypatch, CleanupReport(dry_run=True, killed=KILLED.killed))
    assert commands.run(["cleanup", "--dry-run"], never) == 0
    assert dry == [True]
    said = capsys.readouterr().out
    assert said.startswith("Would clean up 1 orphaned processes\n")
    assert "To be removed: 0 session folders" in said


def test_processes_are_shown_with_their_verdicts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone(monkeypatch, KILLED, CleanupPlan((ORPHAN,)))
    assert commands.run(["processes"], never) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["PID", "VERDICT", "ROLE", "NAME", "MEMORY_MB", "WHY"]
    assert line.split()[:4] == ["17", "orphan", "driver", "chromedriver"]
    assert "None" not in line


def test_a_machine_without_chrome_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone(monkeypatch, KILLED, CleanupPlan(()))
    assert commands.run(["processes"], never) == 0
    assert capsys.readouterr().out == "No Chrome or ChromeDriver process is running on this machine.\n"


def test_without_an_instance_every_session_folder_of_the_data_folder_is_spared(home: Path) -> None:
    folders = SessionFolders(home)
    folders.check()
    kept = [folders.choose(), folders.choose()]
    for folder in kept:
        folders.make(folder)
    cleaner = commands._cleaner_alone(Settings())
    assert {one.folder for one in cleaner._protected()} == {str(folder.path) for folder in kept}
    assert cleaner._unowned_folders() == ()


@pytest.mark.parametrize("arguments", [["nonsense"], ["cleanup", "--jsn"], ["processes", "--dry-run"]])
def test_a_wrong_argument_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.run(arguments, never)
    assert ended.value.code == 2


def test_help_lists_every_setting_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.run(["--help"], never)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        assert f"DROVER_{name.upper()} (" in said
        assert str(field.description) in said
    for command in ("serve", "cleanup", "processes", "doctor"):
        assert re.search(rf"^    {command}\b", said, re.MULTILINE)
    for code in (
        commands.DONE,
        commands.INCOMPLETE,
        commands.REFUSED,
        commands.NO_ANSWER,
        commands.WARNED,
        commands.OBSTRUCTED,
    ):
        assert f"\n  {code}  " in said


@pytest.mark.parametrize(
    ("status", "code"), [(Status.OK, 0), (Status.WARNING, 4), (Status.PROBLEM, 1)], ids=str
)
def test_the_exit_code_of_doctor_is_the_worst_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: Status, code: int
) -> None:
    checks = (Check("port", Status.OK, "5010 is free"), Check("init", status, "so it is", "do this"))
    monkeypatch.setattr("drover.cli.commands.read_set_up", lambda _: None)
    monkeypatch.setattr("drover.cli.doctor.judge", lambda _: checks)
    assert commands.run(["doctor"], never) == code
    assert capsys.readouterr().out.splitlines() == [
        "ok       port           5010 is free",
        f"{status.value:<8} init           so it is",
        "                        -> do this",
    ]
    assert commands.run(["doctor", "--json"], never) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["success"], told["status"]) == (status is not Status.PROBLEM, status.value)
    assert told["checks"][1] == {
        "name": "init",
        "status": status.value,
        "found": "so it is",
        "advice": "do this",
    }


def test_an_invalid_setting_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROVER_MAX_SESSIONS", "many")
    assert commands.run(["cleanup"], never) == 2
    assert capsys.readouterr().err.startswith("DROVER_MAX_SESSIONS is 'many'")


def test_a_refused_start_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: Settings) -> int:
        raise StartRefused("the port is taken")

    assert commands.run([], refuse) == 2
    assert capsys.readouterr().err == "the port is taken\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_character_that_the_console_cannot_encode_is_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    odd = Judgement(proc(17, 1, "chrome-\U0001f600"), Role.OTHER, Verdict.FOREIGN, "no Chrome", None)
    alone(monkeypatch, KILLED, CleanupPlan((odd,)))
    for arguments in (["processes"], ["processes", "--json"]):
        said = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, encoding=encoding, write_through=True))
        assert commands.run(arguments, never) == 0
        shown = said.getvalue().decode(encoding)
        name = json.loads(shown)["processes"][0]["name"] if "--json" in arguments else shown
        assert "chrome-\U0001f600" in name.replace(r"\U0001f600", "\U0001f600")


def test_a_running_instance_is_called_with_the_token(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROVER_API_TOKEN", "secret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    body = json.dumps({"success": True, "processes": []}).encode()
    with instance(home, monkeypatch, 200, body) as asked:
        assert commands.run(["processes", "--json"], never) == 0
    assert asked == ["GET /processes Bearer secret"]
    assert json.loads(capsys.readouterr().out) == {"success": True, "processes": []}


def test_processes_that_a_running_instance_could_not_end_are_printed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps(cleanup_answer(STUBBORN, active_sessions=3).json_object()).encode()
    with instance(home, monkeypatch, 500, body) as asked:
        assert commands.run(["cleanup", "--dry-run"], never) == 1
    assert asked == ["POST /cleanup_orphaned_processes?dry_run=true None"]
    assert "it survived" in capsys.readouterr().out


def test_an_instance_that_refuses_counts_as_unreachable(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"success": False, "error": "Show the token", "code": "unauthorized"}).encode()
    with instance(home, monkeypatch, 401, body):
        assert commands.run(["cleanup"], never) == 3
    assert "refused the request: Show the token" in capsys.readouterr().err


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"null", b"\xff"])
def test_another_program_on_the_port_counts_as_unreachable(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, body: bytes
) -> None:
    with instance(home, monkeypatch, status, body):
        assert commands.run(["cleanup"], never) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_program_without_http_counts_as_unreachable(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("urllib.request.build_opener", _opener_of_garbage)
    with held(home):
        assert commands.run(["processes"], never) == 3
    assert "does not answer" in capsys.readouterr().err


def test_an_instance_with_a_closed_port_is_unreachable_and_the_port_is_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(home):
        assert commands.run(["cleanup"], never) == 3
    said = capsys.readouterr().err
    assert "http://127.0.0.1:1/cleanup_orphaned_processes does not answer" in said
    assert "DROVER_PORT" in said


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "127.0.0.1"), ("::", "127.0.0.1"), ("fd00::5", "[fd00::5]")],
)
def test_an_instance_is_reached_at_its_address(host: str, reached: str) -> None:
    assert reachable_host(host) == reached


def _opener_of_garbage(*_: object) -> Any:  # noqa: ANN401
    class Opener:
        open: Callable[..., io.BytesIO] = staticmethod(_garbage)

    return Opener()


def _garbage(*_: object, **__: object) -> io.BytesIO:
    raise http.client.BadStatusLine("SSH-2.0")


def test_a_drain_without_an_instance_is_done(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["drain"], never) == 0
    assert capsys.readouterr().out == f"No instance of Drover is running on {home}.\n"


def test_a_drain_that_does_not_stop_the_instance_in_time_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "STOP_S", 0.0)
    answer = {"success": True, "message": "Draining: 1 sessions go on", "remaining_s": 0.2}
    with instance(home, monkeypatch, 200, json.dumps(answer).encode()) as asked:
        assert commands.run(["drain"], never) == 1
    assert asked == ["POST /drain None"]
    told = capsys.readouterr()
    assert told.out == "Draining: 1 sessions go on\n"
    assert "still runs" in told.err


def test_a_key_that_is_named_twice_is_forgotten_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forgotten: list[str] = []

    class Kept:
        def list(self) -> dict[str, Any]:
            return {"keys": [{"key": "a"}, {"key": "b"}]}

        def forget(self, key: str) -> None:
            forgotten.append(key)

    @contextmanager
    def kept(_: Settings) -> Iterator[Kept]:
        yield Kept()

    monkeypatch.setattr(commands, "_kept", kept)
    assert commands.run(["purge", "a", "a"], never) == commands.DONE
    assert forgotten == ["a"]
    assert capsys.readouterr().out == "Forgot what was kept for 1 key.\n"
