from __future__ import annotations

import errno
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from drover.core.errors import BrowserUnavailable
from drover.storage import profiles as module
from drover.storage import session_folders
from drover.storage.profiles import KEPT_S, Profiles
from drover.storage.session_folders import SessionFolder, SessionFolders
from tests.systems import NEEDS_LINKS


@pytest.fixture(name="folders")
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionFolders:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(session_folders, "_LONGEST_TEMP_PATH", {})
    made = SessionFolders(tmp_path)
    made.check()
    return made


@pytest.fixture(name="profiles")
def _profiles(folders: SessionFolders) -> Profiles:
    return Profiles(folders)


@pytest.fixture(name="folder")
def _folder(folders: SessionFolders) -> SessionFolder:
    """Return the folder of a session whose Chrome has ended."""
    folder = folders.choose()
    folders.make(folder)
    (folder.profile / "Default").mkdir()
    cookies(folder.profile).write_text("cookies")
    (folder.profile / "SingletonLock").symlink_to("host-4711")
    (folder.temp / "socket").touch()
    folder.driver_log.touch()
    return folder


def cookies(profile: Path) -> Path:
    return profile / "Default" / "Cookies"


def names(folder: SessionFolder) -> list[str]:
    return sorted(path.name for path in folder.path.glob("p*"))


def test_a_profile_is_kept_and_only_its_lock_is_removed(profiles: Profiles, folder: SessionFolder) -> None:
    assert profiles.prepare(folder)
    assert cookies(folder.profile).read_text() == "cookies"
    assert not (folder.profile / "SingletonLock").is_symlink()
    assert list(folder.temp.iterdir()) == []
    assert folder.driver_log.exists()


def test_a_folder_that_has_vanished_is_created_again(profiles: Profiles, folders: SessionFolders) -> None:
    folder = folders.choose()
    assert not profiles.prepare(folder)
    assert folder.profile.is_dir()
    assert folders.remove(folder)


def test_a_profile_that_chrome_has_never_used_is_not_a_profile(
    profiles: Profiles, folders: SessionFolders
) -> None:
    folder = folders.choose()
    folders.make(folder)
    assert not profiles.prepare(folder)


@NEEDS_LINKS
@pytest.mark.parametrize("part", ["profile", "temp"])
def test_a_part_that_became_a_link_is_replaced_and_its_target_stays_as_it_was(
    profiles: Profiles, folder: SessionFolder, tmp_path: Path, part: str
) -> None:
    outside = tmp_path / "precious"
    outside.mkdir(mode=0o755)
    (outside / "file").touch()
    path: Path = getattr(folder, part)
    path.rename(folder.path / "moved")
    path.symlink_to(outside)
    profiles.prepare(folder)
    assert not path.is_symlink()
    assert (outside / "file").exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_a_profile_is_put_back_if_the_new_one_does_not_work_either(
    profiles: Profiles, folder: SessionFolder
) -> None:
    with profiles.replaced(folder):
        assert list(folder.profile.iterdir()) == []
        (folder.profile / "Default").mkdir()
    assert names(folder) == ["p"]
    assert cookies(folder.profile).read_text() == "cookies"


def test_a_profile_is_set_aside_for_a_day(
    profiles: Profiles, folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with profiles.replaced(folder) as replacement:
        (folder.profile / "Default").mkdir()
        aside = replacement.keep()
    assert cookies(aside).read_text() == "cookies"
    assert names(folder) == sorted(["p", aside.name])
    profiles.remove_expired()
    assert aside.exists()
    profiles.prepare(folder)
    assert aside.exists()
    later = time.time() + KEPT_S + 2
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: later))
    profiles.remove_expired()
    assert names(folder) == ["p"]
    assert (folder.profile / "Default").is_dir()


def test_a_folder_that_is_removed_in_the_meantime_keeps_no_other_from_being_tidied(
    profiles: Profiles, folder: SessionFolder, folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "p.1").mkdir()
    present = (folders.choose(), folder)
    monkeypatch.setattr(folders, "present", lambda: present)
    profiles.remove_expired()
    assert names(folder) == ["p"]


def test_a_new_profile_counts_as_the_sessions_only_once_a_recovery_has_said_so(
    profiles: Profiles, folder: SessionFolder, folders: SessionFolders
) -> None:
    bare = folders.choose()
    with profiles.replaced(folder) as replacement:
        replacement.keep()
    for one in (folder, bare):
        for _ in range(2):
            assert not profiles.prepare(one)
            (one.profile / "Default").mkdir(exist_ok=True)
        profiles.accept(one)
        assert profiles.prepare(one)


def test_a_profile_that_could_not_be_set_aside_still_counts(
    profiles: Profiles, folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "in use by another program")

    with profiles.replaced(folder) as replacement, monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(BrowserUnavailable, match="close the program"):
            replacement.keep()
    assert profiles.prepare(folder)
    assert cookies(folder.profile).read_text() == "cookies"


def test_a_profile_is_put_back_if_the_service_ended_while_another_was_tried(
    profiles: Profiles, folder: SessionFolder
) -> None:
    folder.profile.rename(folder.path / "p.trial")
    folder.profile.mkdir()
    (folder.profile / "Default").mkdir()
    assert profiles.prepare(folder)
    assert names(folder) == ["p"]
    assert cookies(folder.profile).read_text() == "cookies"


def test_a_profile_of_which_a_program_has_a_file_open_is_left_as_it_is(
    profiles: Profiles, folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    def refuse(*_: object) -> None:
        nonlocal attempts
        attempts += 1
        raise PermissionError(errno.EACCES, "in use by another program")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(BrowserUnavailable, match="close the program"), profiles.replaced(folder):
            pytest.fail("nothing can be tried")
    assert attempts == 4
    assert names(folder) == ["p"]
    assert cookies(folder.profile).read_text() == "cookies"


def test_a_file_that_is_held_for_a_while_is_tried_again(
    profiles: Profiles, folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, refusals = Path.unlink, [PermissionError(errno.EACCES, "in use")] * 2

    def held(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "SingletonLock" and refusals:
            raise refusals.pop()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    assert profiles.prepare(folder)
    assert not (folder.profile / "SingletonLock").is_symlink()


def test_a_temporary_file_that_is_held_does_not_prevent_a_start(
    profiles: Profiles, folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def held(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "socket":
            raise PermissionError(errno.EACCES, "in use")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    assert profiles.prepare(folder)
    assert (folder.temp / "socket").exists()


def test_a_full_disk_is_reported_and_the_profile_is_kept(
    profiles: Profiles, folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refuse)
        with pytest.raises(BrowserUnavailable, match="free some disk space"), profiles.replaced(folder):
            pytest.fail("nothing can be tried")
    assert names(folder) == ["p"]
    assert cookies(folder.profile).read_text() == "cookies"
