"""The explanation of a failed browser start."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from drover.browser import sandbox
from drover.browser.start_diagnostics import explain_failure
from drover.storage.session_folders import SessionFolder


@pytest.fixture
def session_folder(tmp_path: Path) -> SessionFolder:
    return SessionFolder(tmp_path)


def room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_the_reason_the_last_words_and_what_to_do_are_one_line(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    room(monkeypatch, 10**9)
    session_folder.driver_log.write_text("Starting ChromeDriver 156\n[SEVERE]: it went\n\n[SEVERE]: wrong\n")
    said = explain_failure("session not created.", session_folder)
    assert said == (
        "No browser could be started: session not created. "
        "ChromeDriver's last log lines: [SEVERE]: it went / [SEVERE]: wrong. "
        "Check that Chrome and ChromeDriver have the same major version and that both start manually, "
        "then retry"
    )


def test_without_last_words_none_are_told(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    room(monkeypatch, 10**9)
    assert "last log lines" not in explain_failure("it is gone", session_folder)


def test_a_full_disk_is_named_as_the_cause(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    room(monkeypatch, 2_000_000)
    said = explain_failure("Chrome instance exited", session_folder)
    assert (f"Disk full: only 2 MB free on {session_folder.path.parent}. Free some space, then retry") in said
    assert "version" not in said


def test_of_a_folder_that_is_gone_no_want_of_room_is_told(tmp_path: Path) -> None:
    assert "full" not in explain_failure("it is gone", SessionFolder(tmp_path / "gone"))


@pytest.mark.parametrize("forbidden", [True, False])
@pytest.mark.parametrize("sandboxed", [True, False])
@pytest.mark.parametrize(
    "error", ["session not created: Chrome instance exited.", "ChromeDriver did not start"]
)
def test_a_sandbox_that_may_not_be_made_is_told_where_it_was_to_be(
    monkeypatch: pytest.MonkeyPatch,
    session_folder: SessionFolder,
    error: str,
    sandboxed: bool,
    forbidden: bool,
) -> None:
    room(monkeypatch, 10**9)
    monkeypatch.setattr(sandbox, "is_forbidden", lambda: forbidden)
    said = explain_failure(error, session_folder, sandboxed=sandboxed)
    assert ("DROVER_CHROME_ARGS=--no-sandbox" in said) is (forbidden and sandboxed and "exited" in error)


@pytest.mark.parametrize(
    ("probe", "forbidden"), [(("true",), False), (("false",), True), (("no-such",), False)]
)
def test_what_the_system_answers_decides(
    monkeypatch: pytest.MonkeyPatch, probe: tuple[str, ...], forbidden: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sandbox, "PROBE", probe)
    assert sandbox.is_forbidden() is forbidden
    monkeypatch.setattr(sys, "platform", "win32")
    assert sandbox.is_forbidden() is False
