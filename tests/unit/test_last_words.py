"""What is said when a browser did not start."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from browser.last_words import story
from processes.folders import SessionFolder


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
    said = story("session not created.", session_folder)
    assert said == (
        "No browser could be started: session not created. ChromeDriver's last words: [SEVERE]: it went / "
        "[SEVERE]: wrong. Check that Chrome and ChromeDriver are of the same version and start by hand, "
        "then ask again"
    )


def test_without_last_words_none_are_told(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    room(monkeypatch, 10**9)
    assert "last words" not in story("it is gone", session_folder)


def test_a_full_disk_is_named_as_the_cause(
    monkeypatch: pytest.MonkeyPatch, session_folder: SessionFolder
) -> None:
    room(monkeypatch, 2_000_000)
    said = story("Chrome instance exited", session_folder)
    assert (
        f"The disk of {session_folder.path.parent} is full (2 MB are free): make room, then ask again" in said
    )
    assert "version" not in said


def test_of_a_folder_that_is_gone_no_want_of_room_is_told(tmp_path: Path) -> None:
    assert "full" not in story("it is gone", SessionFolder(tmp_path / "gone"))
