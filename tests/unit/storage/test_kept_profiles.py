"""Kept profiles: moved from folder to folder, never lost on the way, and limited."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from drover.storage import kept_profiles
from drover.storage.kept_profiles import (
    BYTES_PER_MB,
    KeptProfile,
    KeptProfiles,
    ProfileOwner,
    over_limit,
)
from drover.storage.session_folders import SessionFolder, SessionFolders

LEFT = "2026-11-22T19:40:00+00:00"


@pytest.fixture
def folders(tmp_path: Path) -> SessionFolders:
    (tmp_path / "s").mkdir()
    return SessionFolders(tmp_path)


def owner(key: str = "k", left_with: str | None = LEFT, last_used: str = "2026") -> ProfileOwner:
    return ProfileOwner(key, left_with, last_used)


def made(folders: SessionFolders, content: str | None = None) -> SessionFolder:
    folder = folders.choose()
    folders.make(folder)
    if content is not None:
        (folder.profile / "Default").mkdir()
        (folder.profile / "Default" / "IndexedDB").write_text(content, encoding="ascii")
    return folder


def content_of(profile: Path) -> str:
    return (profile / "Default" / "IndexedDB").read_text(encoding="ascii")


def leave(folders: SessionFolders, content: str, who: ProfileOwner | None = None) -> None:
    """Let a session end that keeps its profile."""
    folder = made(folders, content)
    folders.kept.mark(folder.path, who or owner())
    assert folders.remove(folder)


def test_a_profile_is_moved_from_session_to_session(folders: SessionFolders) -> None:
    leave(folders, "login")
    (kept,) = folders.kept.all()
    assert kept.owner == owner()
    assert content_of(kept.path / "p") == "login"
    folder = made(folders)
    assert folders.kept.take("k", folder.path, LEFT)
    assert content_of(folder.profile) == "login"
    assert folders.kept.all() == ()


def test_a_profile_without_a_mark_is_removed_with_its_folder(folders: SessionFolders) -> None:
    folder = made(folders, "login")
    folders.kept.mark(folder.path, owner())
    folders.kept.unmark(folder.path)
    assert folders.remove(folder)
    assert folders.kept.all() == ()


def test_there_is_no_profile_for_another_key(folders: SessionFolders) -> None:
    leave(folders, "login")
    assert not folders.kept.take("other", made(folders).path, LEFT)
    assert len(folders.kept.all()) == 1


def test_a_profile_is_not_used_if_something_newer_was_kept(folders: SessionFolders, tmp_path: Path) -> None:
    leave(folders, "old")
    folder = made(folders)
    assert not folders.kept.take("k", folder.path, "2026-11-23T00:00:00+00:00")
    assert list(folder.profile.iterdir()) == []
    (aside,) = (tmp_path / "k").iterdir()
    assert content_of(aside / "p") == "old"
    assert folders.kept.all() == ()


def test_a_retired_profile_is_set_aside_and_one_that_was_left_since_stays(
    folders: SessionFolders, tmp_path: Path
) -> None:
    leave(folders, "old")
    (outdated,) = folders.kept.owners()
    leave(folders, "new", owner(left_with="later"))
    folders.kept.retire(outdated)
    (kept,) = folders.kept.all()
    assert content_of(kept.path / "p") == "new"
    folders.kept.retire(kept.owner)
    assert folders.kept.owners() == ()
    (aside,) = tmp_path.glob("**/*.refused-*")
    assert content_of(aside / "p") == "new"


def test_a_later_profile_replaces_the_one_before(folders: SessionFolders) -> None:
    leave(folders, "old")
    leave(folders, "new", owner(left_with="later"))
    (kept,) = folders.kept.all()
    assert content_of(kept.path / "p") == "new"


def test_a_session_that_crashes_while_it_starts_returns_its_profile(folders: SessionFolders) -> None:
    leave(folders, "login")
    folder = made(folders)
    folders.kept.take("k", folder.path, LEFT)
    assert folders.remove(folder)
    (kept,) = folders.kept.all()
    assert (kept.owner, content_of(kept.path / "p")) == (owner(), "login")


def test_a_crash_before_the_profile_was_moved_loses_nothing(folders: SessionFolders) -> None:
    leave(folders, "login")
    folder = made(folders)
    folder.profile.rmdir()
    folders.kept.mark(folder.path, owner())
    assert folders.remove(folder)
    assert content_of(folders.kept.all()[0].path / "p") == "login"


def test_an_emptied_profile_folder_returns_the_profile_first(folders: SessionFolders) -> None:
    leave(folders, "login")
    folder = made(folders)
    folders.kept.take("k", folder.path, LEFT)
    folders.reset(folder)
    assert content_of(folders.kept.all()[0].path / "p") == "login"


def test_a_folder_whose_profile_cannot_be_moved_stays(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("drover.storage.session_folders.PAUSES_S", ())
    folder = made(folders, "login")
    folders.kept.mark(folder.path, owner())
    with monkeypatch.context() as patched:
        patched.setattr(kept_profiles, "_move", full)
        assert not folders.remove(folder)
    assert list((folder.path.parent.parent / "k").iterdir()) == []
    assert content_of(folder.profile) == "login"
    assert folders.remove(folder)
    assert content_of(folders.kept.all()[0].path / "p") == "login"


def test_what_chrome_makes_again_and_its_lock_are_not_kept(folders: SessionFolders) -> None:
    folder = made(folders, "login")
    (folder.profile / "Default" / "Cache").mkdir()
    (folder.profile / "Default" / "Service Worker").mkdir()
    (folder.profile / "SingletonLock").symlink_to("machine-1")
    folders.kept.mark(folder.path, owner())
    folders.remove(folder)
    profile = folders.kept.all()[0].path / "p"
    assert sorted(path.name for path in (profile / "Default").iterdir()) == ["IndexedDB", "Service Worker"]
    assert not os.path.lexists(profile / "SingletonLock")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_only_the_user_of_the_service_can_read_profiles(folders: SessionFolders, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        leave(folders, "login")
    finally:
        os.umask(before)
    (kept,) = folders.kept.all()
    for path in (tmp_path / "k", kept.path, kept.path / "p", kept.path / "about.json"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_refused_profile_is_set_aside_for_a_day(
    folders: SessionFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(folders, "damaged")
    aside = folders.kept.set_aside("k")
    assert aside is not None
    assert content_of(aside / "p") == "damaged"
    assert folders.kept.set_aside("k") is None
    folders.kept.limit(0)
    assert aside.exists()
    monkeypatch.setattr(kept_profiles, "ASIDE_S", -1.0)
    folders.kept.limit(0)
    assert list((tmp_path / "k").iterdir()) == []


def test_a_forgotten_key_leaves_nothing(folders: SessionFolders, tmp_path: Path) -> None:
    leave(folders, "damaged")
    folders.kept.set_aside("k")
    leave(folders, "login")
    assert folders.kept.forget("k")
    assert not folders.kept.forget("k")
    assert list((tmp_path / "k").iterdir()) == []


def test_all_profiles_are_forgotten_also_those_in_use(folders: SessionFolders) -> None:
    leave(folders, "login")
    used = made(folders, "in use")
    folders.kept.mark(used.path, owner("other"))
    folders.forget_kept()
    folders.remove(used)
    assert folders.kept.all() == ()


def test_a_damaged_description_hides_no_other_profile(folders: SessionFolders) -> None:
    leave(folders, "a", owner("a"))
    leave(folders, "b", owner("b"))
    (folders.kept.all()[0].path / "about.json").write_text("{", encoding="ascii")
    assert len(folders.kept.all()) == 1


def test_the_least_recently_used_profiles_are_removed_beyond_the_limit(folders: SessionFolders) -> None:
    for number, key in enumerate(("middle", "old", "new")):
        leave(folders, "x" * 8192, owner(key, last_used=str((2026, 2025, 2027)[number])))
    assert folders.kept.limit(0) == ()
    size = sum(one.size for one in folders.kept.all()) / BYTES_PER_MB
    assert [one.owner.key for one in folders.kept.limit(size * 0.9)] == ["old"]
    assert [one.owner.key for one in folders.kept.all()] == ["middle", "new"]


def test_a_profile_that_was_left_anew_while_the_others_were_measured_stays(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(folders, "old")

    def measure(_: Path) -> int:
        """Let the next session of the key begin and end in the meantime."""
        folder = made(folders)
        assert folders.kept.take("k", folder.path, LEFT)
        folders.kept.mark(folder.path, owner(last_used="2027"))
        assert folders.remove(folder)
        return 2 * BYTES_PER_MB

    monkeypatch.setattr(kept_profiles, "disk_usage", measure)
    assert folders.kept.limit(1.0) == ()
    monkeypatch.undo()
    (kept,) = folders.kept.all()
    assert kept.owner == owner(last_used="2027")


def test_the_number_of_profiles_is_limited_too() -> None:
    profiles = tuple(KeptProfile(owner(str(number)), Path("/k"), 1) for number in range(5))
    assert over_limit(profiles, 0, 3) == profiles[:2]
    assert over_limit(profiles, 1.0, 5) == ()


def test_a_file_in_the_place_of_the_folder_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("", encoding="ascii")
    assert KeptProfiles(tmp_path).all() == ()
