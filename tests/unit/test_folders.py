from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from errors import StartRefused
from processes import folders as module
from processes.folders import SessionFolder, SessionFolders
from processes.ownership import SessionMark, session_mark


@pytest.fixture(name="data_dir")
def _data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_PAUSES_S", (0.0, 0.0, 0.0))
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
    folder = folders.create()
    assert folder.path.parent == data_dir / "s"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert all(part.is_dir() for part in (folder.profile, folder.temp, folder.crashes))
    mark = SessionMark(str(data_dir), str(folder.path))
    for switch in (
        f"--user-data-dir={folder.profile}",
        f"--log-path={folder.driver_log}",
        f"--database={folder.crashes}",
    ):
        assert session_mark(["x", switch]) == mark


def test_a_folder_is_announced_before_it_exists(folders: SessionFolders) -> None:
    announced: list[tuple[Path, bool]] = []
    folder = folders.create(lambda made: announced.append((made.path, made.path.exists())))
    assert announced == [(folder.path, False)]


def test_a_folder_is_removed_with_everything_in_it(folders: SessionFolders) -> None:
    folder = folders.create()
    fill(folder)
    assert folders.remove(folder)
    assert not folder.path.exists()
    assert folders.remove(folder)


def test_folders_without_write_permission_inside_are_removed(folders: SessionFolders) -> None:
    folder = folders.create()
    fill(folder)
    (folder.profile / "Default").chmod(0o500)
    assert folders.remove(folder)


def test_a_link_inside_is_removed_and_what_it_points_to_stays(
    folders: SessionFolders, data_dir: Path
) -> None:
    outside = data_dir / "precious"
    outside.mkdir()
    (outside / "file").touch()
    folder = folders.create()
    (folder.path / "link").symlink_to(outside)
    (folder.profile / "link").symlink_to(outside)
    assert folders.remove(folder)
    assert (outside / "file").exists()


def test_a_folder_that_we_did_not_make_is_left_alone(folders: SessionFolders, data_dir: Path) -> None:
    unmarked = data_dir / "s" / "abcd1234"
    unmarked.mkdir()
    (unmarked / "file").touch()
    assert not folders.remove(SessionFolder(unmarked))
    assert folders.sweep(set()) == 0
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
    assert not folders.remove(SessionFolder(data_dir / "s" / "x" / ".." / "abcd1234"))
    assert folders.sweep(set()) == 0


def test_a_link_in_place_of_a_folder_is_left_alone(folders: SessionFolders, data_dir: Path) -> None:
    target = data_dir / "target"
    target.mkdir()
    (target / ".drover").touch()
    (data_dir / "s" / "abcd1234").symlink_to(target)
    assert not folders.remove(SessionFolder(data_dir / "s" / "abcd1234"))
    assert folders.sweep(set()) == 0
    assert (target / ".drover").exists()


def test_a_linked_root_is_left_alone_and_refused_at_the_start(data_dir: Path) -> None:
    (data_dir / "elsewhere" / "abcd1234").mkdir(parents=True)
    (data_dir / "elsewhere" / "abcd1234" / ".drover").touch()
    (data_dir / "s").symlink_to(data_dir / "elsewhere")
    folders = SessionFolders(data_dir)
    assert folders.sweep(set()) == 0
    with pytest.raises(StartRefused, match="symbolic link"):
        folders.check()


def test_a_sweep_removes_the_folders_of_no_session_and_half_made_ones(
    folders: SessionFolders, data_dir: Path
) -> None:
    kept, by_path, gone = folders.create(), folders.create(), folders.create()
    fill(gone)
    (data_dir / "s" / "abcd1234").mkdir()
    assert folders.sweep({kept.path.name, str(by_path.path)}) == 2
    assert sorted((data_dir / "s").iterdir()) == sorted([kept.path, by_path.path])


def test_a_sweep_without_a_data_folder_finds_nothing(tmp_path: Path) -> None:
    assert SessionFolders(tmp_path / "nowhere").sweep(set()) == 0


def test_a_sweep_asks_what_to_keep_after_it_has_listed_the_folders(folders: SessionFolders) -> None:
    born_meanwhile: list[SessionFolder] = []

    class Live:
        def __contains__(self, name: object) -> bool:
            if not born_meanwhile:
                born_meanwhile.append(folders.create())
            return False

    folders.create()
    assert folders.sweep(Live()) == 1
    assert born_meanwhile[0].path.exists()


def test_a_folder_that_cannot_be_emptied_stays_marked_and_is_reported(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders.create()
    fill(folder)
    with monkeypatch.context() as patched:
        patched.setattr(module.shutil, "rmtree", lambda *_args, **_options: None)
        assert not folders.remove(folder)
    assert (folder.path / ".drover").exists()
    assert folders.sweep(set()) == 1


def test_a_file_that_is_held_for_a_while_is_tried_again(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real, calls = folders.create(), module._remove_marked, []
    monkeypatch.setattr(
        module, "_remove_marked", lambda path: calls.append(path) or (len(calls) > 2 and real(path))
    )
    assert folders.remove(folder)
    assert len(calls) == 3


def test_a_folder_is_still_marked_when_something_appears_in_it_at_the_last_moment(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders.create()
    monkeypatch.setattr(Path, "rmdir", lambda _path: (_ for _ in ()).throw(OSError("not empty")))
    assert not folders.remove(folder)
    assert (folder.path / ".drover").exists()


def test_a_path_too_long_for_chromes_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="characters too long"):
        SessionFolders(tmp_path / ("x" * 60)).check()


@pytest.mark.parametrize("path", ["relative", "/tmp/a --b"])
def test_a_path_that_no_command_line_could_show_is_refused(path: str) -> None:
    with pytest.raises(StartRefused, match="choose an absolute path"):
        SessionFolders(Path(path)).check()


def test_a_data_folder_that_cannot_be_written_is_refused(data_dir: Path) -> None:
    (data_dir / "file").touch()
    with pytest.raises(StartRefused, match="can be written to"):
        SessionFolders(data_dir / "file").check()


def test_a_check_leaves_nothing_behind_and_makes_the_folder_private(data_dir: Path) -> None:
    SessionFolders(data_dir / "new").check()
    assert os.listdir(data_dir / "new" / "s") == []
    assert stat.S_IMODE((data_dir / "new").stat().st_mode) == 0o700
