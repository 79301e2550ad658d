"""What is kept for keys when sessions end and begin at the same time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drover.sessions.persistence.kept_logins import KeptLogins
from drover.storage.kept_profiles import KeptProfiles, ProfileOwner
from drover.storage.session_folders import SessionFolders
from tests.unit.examples import session


def test_a_start_that_takes_the_profile_at_this_moment_keeps_no_deleted_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s").mkdir()
    folders = SessionFolders(tmp_path)
    earlier, folder = folders.choose(), folders.choose()
    for one in (earlier, folder):
        folders.make(one)
    folders.kept.mark(earlier.path, ProfileOwner("k", "left", "2026"))
    assert folders.remove(earlier)
    unmark = folders.kept.unmark

    def unmarked(path: Path) -> None:
        """Let the start of the session go on in between."""
        unmark(path)
        monkeypatch.setattr(KeptProfiles, "unmark", unmarked_before)
        folders.kept.take("k", path, "left")

    unmarked_before = KeptProfiles.unmark
    monkeypatch.setattr(KeptProfiles, "unmark", lambda _, path: unmarked(path))
    parts: list[Any] = [None, SimpleNamespace(forget_key=lambda *_: None), None, folders.kept]
    KeptLogins(*parts).forget_with(session("deleted", key="k", folder=folder, keeps_profile=True))
    assert folders.remove(folder)
    assert folders.kept.all() == ()
