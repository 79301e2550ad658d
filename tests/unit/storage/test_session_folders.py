from __future__ import annotations

import errno
import shutil
import stat
import sys
from pathlib import Path

import pytest

from drover.core.errors import BrowserUnavailable, StartRefused
from drover.processes.session_mark import SessionMark, session_mark
from drover.storage import session_folders as module
from drover.storage.session_folders import SessionFolder, SessionFolders
from tests.systems import NEEDS_LINKS, NEEDS_MODES


def made(folders: SessionFolders) -> SessionFolder:
    folder = folders.choose()
    folders.make(folder)
    return folder


@pytest.fixture(name="data_dir")
def _data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(module, "_LONGEST_TEMP_PATH", {"linux": 1000})
    return tmp_path


@pytest.fixture(name="folders")
def _folders(data_dir: Path) -> SessionFolders:
    made = SessionFolders(data_dir)
    made.check()
    return made


def fill(folder: SessionFolder) -> None:
    (folder.profile / "Default").mkdir(parents=True)
    (folder.profile / "Default" / "Cookies").write_text("x")
    (folder.driver_log).write_text("x")


def test_a_new_folder_is_private_marked_and_named_as_command_lines_show_it(
    folders: SessionFolders, data_dir: Path
) -> None:
    folder = made(folders)
    assert folder.path.parent == data_dir / "s"
    assert sys.platform == "win32" or stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert all(part.is_dir() for part in (folder.profile, folder.temp, folder.crashes))
    mark = SessionMark(str(data_dir), str(folder.path))
    for switch in (
        f"--user-data-dir={folder.profile}",
        f"--log-path={folder.driver_log}",
        f"--database={folder.crashes}",
    ):
        assert session_mark(["x", switch]) == mark


def test_a_folder_is_chosen_before_it_exists_and_never_twice(folders: SessionFolders) -> None:
    chosen = {folders.choose().path for _ in range(100)}
    assert len(chosen) == 100
    assert not any(path.exists() for path in chosen)


def test_a_folder_that_cannot_be_created_is_reported(folders: SessionFolders) -> None:
    folder = made(folders)
    with pytest.raises(BrowserUnavailable, match="cannot be created"):
        folders.make(folder)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EDQUOT, "free some disk space"),
        (errno.ENOENT, "make sure that"),
    ],
)
def test_a_full_disk_is_distinguished_from_a_missing_folder(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(code, "no")

    folder = folders.choose()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "touch", refuse)
        with pytest.raises(BrowserUnavailable, match=rf"cannot be created \(no\): {advice}.*, then retry"):
            folders.make(folder)
    assert folders.remove(folder), "a partly created folder can be removed"


def test_a_folder_is_removed_with_everything_in_it(folders: SessionFolders) -> None:
    folder = made(folders)
    fill(folder)
    assert folders.remove(folder)
    assert not folder.path.exists()
    assert folders.remove(folder)


def test_folders_without_write_permission_inside_are_removed(folders: SessionFolders) -> None:
    folder = made(folders)
    fill(folder)
    (folder.profile / "Default").chmod(0o500)
    assert folders.remove(folder)


def test_a_link_inside_is_removed_and_what_it_points_to_stays(
    folders: SessionFolders, data_dir: Path
) -> None:
    outside = data_dir / "precious"
    outside.mkdir()
    (outside / "file").touch()
    folder = made(folders)
    (folder.path / "link").symlink_to(outside)
    (folder.profile / "link").symlink_to(outside)
    assert folders.remove(folder)
    assert (outside / "file").exists()


def test_a_folder_that_we_did_not_make_is_left_alone(folders: SessionFolders, data_dir: Path) -> None:
    unmarked = data_dir / "s" / "abcd1234"
    unmarked.mkdir()
    (unmarked / "file").touch()
    assert not folders.remove(SessionFolder(unmarked))
    assert folders.present() == ()
    assert (unmarked / "file").exists()


def test_a_folder_in_another_place_is_left_alone_even_with_a_marker(
    folders: SessionFolders, data_dir: Path
) -> None:
    for path in (
        data_dir / "abcd1234",
        data_dir / "s" / "abcd1234" / "efgh5678",
        data_dir / "s" / "Upper123",
    ):
        path.mkdir(parents=True)
        (path / ".drover").touch()
        assert not folders.remove(SessionFolder(path))
    assert folders.present() == ()


@NEEDS_LINKS
def test_a_link_in_place_of_a_folder_is_left_alone(folders: SessionFolders, data_dir: Path) -> None:
    target = data_dir / "target"
    target.mkdir()
    (target / ".drover").touch()
    (data_dir / "s" / "abcd1234").symlink_to(target)
    assert not folders.remove(SessionFolder(data_dir / "s" / "abcd1234"))
    assert folders.present() == ()
    assert (target / ".drover").exists()


@NEEDS_LINKS
def test_a_linked_root_is_left_alone_and_refused_at_the_start(data_dir: Path) -> None:
    (data_dir / "elsewhere" / "abcd1234").mkdir(parents=True)
    (data_dir / "elsewhere" / "abcd1234" / ".drover").touch()
    (data_dir / "s").symlink_to(data_dir / "elsewhere")
    folders = SessionFolders(data_dir)
    assert folders.present() == ()
    assert not folders.remove(SessionFolder(data_dir / "s" / "abcd1234"))
    with pytest.raises(StartRefused, match="symbolic link"):
        folders.check()


def test_what_is_present_is_what_can_be_removed_half_made_folders_included(
    folders: SessionFolders, data_dir: Path
) -> None:
    whole, half = made(folders), SessionFolder(data_dir / "s" / "abcd1234")
    half.path.mkdir()
    (data_dir / "s" / "not-ours").mkdir()
    present = folders.present()
    assert {folder.path for folder in present} == {whole.path, half.path}
    assert all(folders.remove(folder) for folder in present)
    assert [path.name for path in (data_dir / "s").iterdir()] == ["not-ours"]


def test_without_a_data_folder_nothing_is_present(tmp_path: Path) -> None:
    assert SessionFolders(tmp_path / "nowhere").present() == ()


def test_an_empty_folder_in_another_place_is_left_alone(folders: SessionFolders, data_dir: Path) -> None:
    (data_dir / "abcd1234").mkdir()
    assert not folders.remove(SessionFolder(data_dir / "abcd1234"))
    assert (data_dir / "abcd1234").exists()


def test_a_folder_that_cannot_be_emptied_stays_marked_and_is_reported(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(folders)
    fill(folder)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_args, **_options: None)
        assert not folders.remove(folder)
    assert (folder.path / ".drover").exists()
    assert folders.remove(folder)


def test_a_file_that_is_held_for_a_while_is_tried_again(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real, calls = made(folders), module._remove_marked, []

    def held_twice(path: Path) -> None:
        calls.append(path)
        if len(calls) > 2:
            real(path)

    monkeypatch.setattr(module, "_remove_marked", held_twice)
    assert folders.remove(folder)
    assert len(calls) == 3


def test_a_folder_is_still_marked_when_something_appears_in_it_at_the_last_moment(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(folders)

    def refuse(_path: Path) -> None:
        raise OSError(errno.ENOTEMPTY, "not empty")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rmdir", refuse)
        assert not folders.remove(folder)
    assert (folder.path / ".drover").exists()


def test_a_path_too_long_for_chromes_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"characters too long|with more than 140"):
        SessionFolders(tmp_path / ("x" * 140)).check()


@pytest.mark.parametrize("path", ["relative", "/data/a --b"])
def test_a_path_that_cannot_appear_on_a_command_line_is_refused(path: str) -> None:
    with pytest.raises(StartRefused, match="choose an absolute path"):
        SessionFolders(Path(path)).check()


@pytest.mark.skipif(sys.platform == "win32", reason="paths are Unicode on Windows")
@pytest.mark.parametrize("name", ["a\udce4", "\udcc3\udca4"])
def test_a_path_that_is_not_utf_8_in_this_locale_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StartRefused, match=r"LC_ALL=C\.UTF-8") as refused:
        SessionFolders(tmp_path / name).check()
    assert refused.value.message.isprintable()
    assert list(tmp_path.iterdir()) == []


def test_a_path_of_all_alphabets_is_accepted(data_dir: Path) -> None:
    SessionFolders(data_dir / "d\u00e4 \u4e2d").check_path()


def test_a_data_folder_that_cannot_be_written_is_refused(data_dir: Path) -> None:
    (data_dir / "file").touch()
    with pytest.raises(StartRefused, match="can write to"):
        SessionFolders(data_dir / "file").check()


@NEEDS_MODES
def test_a_check_leaves_nothing_behind_and_makes_the_folder_private(data_dir: Path) -> None:
    SessionFolders(data_dir / "new").check()
    assert list((data_dir / "new" / "s").iterdir()) == []
    assert stat.S_IMODE((data_dir / "new").stat().st_mode) == 0o700


def test_the_folder_of_a_listed_session_that_lost_its_marker_can_be_completed_and_removed(
    folders: SessionFolders,
) -> None:
    folder = made(folders)
    fill(folder)
    (folder.path / ".drover").unlink()
    assert not folders.remove(folder)
    folders.complete(folder)
    assert (folder.profile / "Default" / "Cookies").exists()
    assert folders.remove(folder)


def test_a_foreign_folder_is_not_marked(folders: SessionFolders, tmp_path: Path) -> None:
    unmarked = tmp_path / "abcd1234"
    unmarked.mkdir()
    folders.reclaim(SessionFolder(unmarked))
    assert list(unmarked.iterdir()) == []
