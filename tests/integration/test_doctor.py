"""The doctor's checks on the real machine: they read and test, and change nothing."""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from drover.cli import commands, system_checks
from drover.cli.doctor import PortHolder, SystemReadings
from drover.core.settings import Settings
from drover.processes.host import permissions
from drover.storage.instance_lock import InstanceLock
from tests.machine import free_port


@pytest.fixture
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROVER_DATA_DIR", str(folder / "d"))
    monkeypatch.setenv("DROVER_PORT", str(free_port()))
    monkeypatch.chdir(folder)
    return folder / "d"


@contextmanager
def listening(status: int, body: bytes) -> Iterator[int]:
    """Answer every GET with this response; yield the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # noqa: ANN401
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def settings_on(port: int) -> Settings:
    return Settings.model_validate(Settings().model_dump() | {"port": port})


def test_a_free_port_is_reported_free_and_stays_free(home: Path) -> None:
    assert system_checks._port_holder(Settings()) is PortHolder.NONE
    assert system_checks._port_holder(Settings()) is PortHolder.NONE


@pytest.mark.parametrize("status", [200, 503])
def test_another_drover_instance_is_distinguished_from_ours_by_the_lock(home: Path, status: int) -> None:
    with listening(status, json.dumps({"service": "drover"}).encode()) as port:
        assert system_checks._port_holder(settings_on(port)) is PortHolder.ANOTHER_DROVER
        home.mkdir()
        lock = InstanceLock(home)
        lock.acquire()
        assert system_checks._port_holder(settings_on(port)) is PortHolder.OURS
        lock.release()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"service": "other"}'])
@pytest.mark.parametrize("status", [200, 404])
def test_another_program_on_the_port_is_reported(home: Path, status: int, body: bytes) -> None:
    with listening(status, body) as port:
        assert system_checks._port_holder(settings_on(port)) is PortHolder.ANOTHER_PROGRAM


def test_a_port_that_may_not_be_bound_is_forbidden(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert system_checks._port_holder(Settings()) is PortHolder.FORBIDDEN


def test_the_data_folder_is_checked_without_being_created(home: Path) -> None:
    found = system_checks._data_folder(home / "deeper")
    assert (found.refusal, found.writable, found.share) == (None, True, None)
    assert not home.exists()


def test_a_path_too_long_for_sockets_is_reported(home: Path) -> None:
    found = system_checks._data_folder(home / ("x" * (60 if sys.platform != "win32" else 200)))
    assert found.refusal is not None
    assert "too long" in found.refusal


def test_a_name_too_long_for_any_file_system_is_reported(home: Path) -> None:
    assert "too long" in str(system_checks._data_folder(home / ("x" * 300)).refusal)


def test_a_file_in_place_of_the_data_folder_is_not_writable(home: Path) -> None:
    home.touch()
    assert not system_checks._data_folder(home / "d").writable


@pytest.mark.skipif(sys.platform == "win32", reason="Windows gives orphans no new parent")
def test_the_new_parent_of_an_orphan_is_found_by_a_test_process() -> None:
    before = set(psutil.pids())
    assert permissions.orphans_are_reaped() is True
    left = [pid for pid in set(psutil.pids()) - before if permissions._MAKE_ORPHAN in _arguments(pid)]
    assert left == []


def test_the_new_parent_is_unknown_if_no_orphan_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent")
    assert permissions.orphans_are_reaped() is None


def test_everything_is_read_without_an_error(home: Path) -> None:
    found = system_checks.read_set_up(Settings())
    assert isinstance(found, SystemReadings)
    assert found.refusal is None
    assert found.data_folder.path == home
    assert not home.exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_taken_port_is_a_problem_with_its_exit_code(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    with listening(200, b"{}") as port:
        monkeypatch.setenv("DROVER_PORT", str(port))
        assert commands.run(["doctor", *(["--json"] if as_json else [])], _never) == 1
    said = capsys.readouterr().out
    if not as_json:
        assert f"problem  port           {port} is used by another program\n" in said
        assert "-> stop that program, or set DROVER_PORT to another port" in said
        return
    answer = json.loads(said)
    assert (answer["success"], answer["status"]) == (False, "problem")
    (check,) = [check for check in answer["checks"] if check["name"] == "port"]
    assert check["status"] == "problem"


def test_settings_that_contradict_each_other_are_a_problem(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROVER_HOST", "0.0.0.0")  # noqa: S104 - that it is refused is the test
    assert commands.run(["doctor"], _never) == 1
    assert "set DROVER_API_TOKEN" in capsys.readouterr().out


def test_a_setting_that_names_no_program_is_a_problem(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROVER_CHROME_BINARY", "/nonexistent/chrome")
    assert commands.run(["doctor"], _never) == 1
    assert "DROVER_CHROME_BINARY is '/nonexistent/chrome'" in capsys.readouterr().out


def _arguments(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _never(_: Settings) -> int:
    raise AssertionError("the doctor serves nothing")
