"""The explanation of a failed browser start."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from drover.browser import start_diagnostics
from drover.browser.start_diagnostics import explain_failure, is_sandbox_forbidden
from drover.storage.session_folders import SessionFolder


@pytest.fixture
def session_folder(tmp_path: Path) -> SessionFolder:
    return SessionFolder(tmp_path)


def set_free_space(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_the_reason_the_last_log_lines_and_the_remedy_are_one_line(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    set_free_space(monkeypatch, 10**9)
    session_folder.driver_log.write_text("Starting ChromeDriver 156\n[SEVERE]: it went\n\n[SEVERE]: wrong\n")
    message = explain_failure("session not created.", session_folder)
    assert message == (
        "No browser could be started: session not created. "
        "ChromeDriver's last log lines: [SEVERE]: it went / [SEVERE]: wrong. "
        "Check that Chrome and ChromeDriver have the same major version and that both start manually, "
        "then retry"
    )


def test_without_log_lines_none_are_mentioned(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    set_free_space(monkeypatch, 10**9)
    assert "last log lines" not in explain_failure("it is gone", session_folder)


def test_a_full_disk_is_named_as_the_cause(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    set_free_space(monkeypatch, 2_000_000)
    message = explain_failure("Chrome instance exited", session_folder)
    assert (
        f"Disk full: only 2 MB free on {session_folder.path.parent}. Free some space, then retry"
    ) in message
    assert "version" not in message


def test_a_missing_folder_is_not_reported_as_a_full_disk(tmp_path: Path) -> None:
    assert "full" not in explain_failure("it is gone", SessionFolder(tmp_path / "gone"))


@pytest.mark.parametrize("forbidden", [True, False])
@pytest.mark.parametrize("sandboxed", [True, False])
@pytest.mark.parametrize(
    "error", ["session not created: Chrome instance exited.", "ChromeDriver did not start"]
)
def test_a_forbidden_sandbox_is_reported_only_if_it_was_used(
    monkeypatch: pytest.MonkeyPatch,
    session_folder: SessionFolder,
    error: str,
    sandboxed: bool,
    forbidden: bool,
) -> None:
    set_free_space(monkeypatch, 10**9)
    monkeypatch.setattr(start_diagnostics, "is_sandbox_forbidden", lambda: forbidden)
    message = explain_failure(error, session_folder, sandboxed=sandboxed)
    assert ("DROVER_CHROME_ARGS=--no-sandbox" in message) is (forbidden and sandboxed and "exited" in error)


EXIT = (sys.executable, "-S", "-c", "import sys; sys.exit(int(sys.argv[1]))")


@pytest.mark.parametrize(
    ("probe", "forbidden"), [((*EXIT, "0"), False), ((*EXIT, "1"), True), (("no-such",), False)]
)
def test_the_sandbox_is_forbidden_if_the_probe_fails(
    monkeypatch: pytest.MonkeyPatch, probe: tuple[str, ...], forbidden: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(start_diagnostics, "SANDBOX_PROBE", probe)
    assert is_sandbox_forbidden() is forbidden
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_sandbox_forbidden() is False
