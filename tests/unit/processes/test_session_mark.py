from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from drover.processes.session_mark import OwnerState, SessionMark, session_mark
from drover.storage.instance_lock import InstanceLock, read_owner
from tests.systems import NEEDS_LINKS


@pytest.mark.parametrize(
    ("cmdline", "data_dir", "folder"),
    [
        (["chrome", "--user-data-dir=/data/s/abcd1234/p"], "/data", "/data/s/abcd1234"),
        (["chromedriver", "--port=0", "--log-path=/d/s/abcd1234/chromedriver.log"], "/d", "/d/s/abcd1234"),
        (["crashpad", "--database=/d/s/abcd1234/c", "--url=x"], "/d", "/d/s/abcd1234"),
        (["chrome --type=gpu --user-data-dir=/a b/c/s/abcd1234/p --x"], "/a b/c", "/a b/c/s/abcd1234"),
        (
            ["chrome", "--user-data-dir=/s/s/aaaaaaaa/s/abcd1234/p"],
            "/s/s/aaaaaaaa",
            "/s/s/aaaaaaaa/s/abcd1234",
        ),
        (["chrome.exe", r"--user-data-dir=C:\U\Jo Do\s\abcd1234\p"], r"C:\U\Jo Do", r"C:\U\Jo Do\s\abcd1234"),
        ([r'chrome.exe --user-data-dir="C:\U\Jo Do\s\abcd1234\p"'], r"C:\U\Jo Do", r"C:\U\Jo Do\s\abcd1234"),
        (["chrome", r"--user-data-dir=\\host\x\s\abcd1234\p"], r"\\host\x", r"\\host\x\s\abcd1234"),
        (
            ["chrome", "--user-agent=X --user-data-dir=/o/s/00000000/p", "--user-data-dir=/d/s/abcd1234/p"],
            "/d",
            "/d/s/abcd1234",
        ),
        (
            ["chrome", "--log-path=/o/s/00000000/chromedriver.log", "--user-data-dir=/d/s/abcd1234/p"],
            "/d",
            "/d/s/abcd1234",
        ),
        (
            ["chrome", "--user-data-dir=/d/s/abcd1234/p", "--user-data-dir=/o/s/00000000/p"],
            "/d",
            "/d/s/abcd1234",
        ),
    ],
)
def test_a_mark_is_found_on_the_command_line(cmdline: list[str], data_dir: str, folder: str) -> None:
    assert session_mark(cmdline) == SessionMark(data_dir, folder)


@pytest.mark.parametrize(
    "cmdline",
    [
        None,
        [],
        ["chrome"],
        ["chrome", "--user-data-dir=/data/s/abcd1234"],
        ["chrome", "--user-data-dir=/data/s/abcd1234/p/Default"],
        ["chrome", "--user-data-dir=/data/s/abcd1234/c"],
        ["chrome", "--user-data-dir=/data/s/ABCD1234/p"],
        ["chrome", "--user-data-dir=/data/s/abcd12345/p"],
        ["chrome", "--user-data-dir=data/s/abcd1234/p"],
        ["chrome", "--user-data-dir=/tmp/x", "--other=/data/s/abcd1234/p"],
        ["chrome", "https://x/?--user-data-dir=/data/s/abcd1234/p"],
        ["chrome", "--user-data-dir=/tmp/x", "--database=/d/s/abcd1234/c"],
        ["chrome", "--user-agent=X --user-data-dir=/data/s/abcd1234/p"],
        ["chrome", "--user-agent=X\n--user-data-dir=/data/s/abcd1234/p"],
        ["chrome --type=gpu --user-agent=X --user-data-dir=/o/s/00000000/p --user-data-dir=/d/s/abcd1234/p"],
        ["chrome --type=gpu --user-data-dir=/d/s/abcd1234/p --lang=x --user-data-dir=/d/s/abcd1234/p"],
        ["chrome", "--user-data-dir=/data/s/abcd1234/p\n"],
        ["vi", "/data/s/abcd1234/p"],
    ],
)
def test_what_only_resembles_a_mark_is_none(cmdline: list[str] | None) -> None:
    assert session_mark(cmdline) is None


@pytest.fixture(name="lock")
def _lock(tmp_path: Path) -> InstanceLock:
    return InstanceLock(tmp_path)


def aged(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_an_owner_that_holds_its_lock_lives_however_old_the_last_sign_is(
    tmp_path: Path, lock: InstanceLock
) -> None:
    lock.acquire()
    aged(tmp_path / "lock", 1e6)
    assert read_owner(str(tmp_path), 60) is OwnerState.LIVING
    lock.release()


def test_an_owner_is_recent_for_the_grace_and_then_dead(tmp_path: Path, lock: InstanceLock) -> None:
    lock.acquire()
    lock.release()
    assert read_owner(str(tmp_path), 60) is OwnerState.RECENT
    assert read_owner(str(tmp_path), 0) is OwnerState.DEAD
    aged(tmp_path / "lock", 61)
    assert read_owner(str(tmp_path), 60) is OwnerState.DEAD


def test_touch_renews_the_sign_of_life_and_is_harmless_without_the_lock(
    tmp_path: Path, lock: InstanceLock
) -> None:
    lock.renew()
    assert not (tmp_path / "lock").exists()
    lock.acquire()
    aged(tmp_path / "lock", 1e6)
    lock.renew()
    lock.release()
    assert read_owner(str(tmp_path), 60) is OwnerState.RECENT


def test_a_clock_that_was_set_back_spares(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    aged(tmp_path / "lock", -1e6)
    assert read_owner(str(tmp_path), 60) is OwnerState.RECENT


def test_a_missing_lock_proves_nothing(tmp_path: Path) -> None:
    assert read_owner(str(tmp_path), 0) is OwnerState.UNREADABLE
    assert read_owner(str(tmp_path / "nowhere"), 0) is OwnerState.UNREADABLE
    assert read_owner("/\0", 0) is OwnerState.UNREADABLE


@NEEDS_LINKS
def test_a_lock_that_is_a_link_a_folder_or_a_pipe_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "lock").symlink_to(tmp_path / "real")
    assert read_owner(str(tmp_path), 0) is OwnerState.UNREADABLE
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").mkdir()
    assert read_owner(str(tmp_path), 0) is OwnerState.UNREADABLE
    (tmp_path / "lock").rmdir()
    os.mkfifo(tmp_path / "lock")
    assert read_owner(str(tmp_path), 0) is OwnerState.UNREADABLE
