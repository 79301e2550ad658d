from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from drover.core.errors import DataDirInUse, StartRefused
from drover.processes.session_mark import OwnerState
from drover.storage import instance_lock
from drover.storage.instance_lock import InstanceLock, read_owner

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from drover.storage.instance_lock import InstanceLock
lock = InstanceLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
"""


@pytest.fixture(name="_short_timeouts")
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_lock, "_ACQUIRE_TIMEOUT_S", 0.1)


@pytest.fixture(name="holder")
def _holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.usefixtures("_short_timeouts")
def test_a_living_instance_excludes_others_and_is_reported_alive(
    holder: subprocess.Popen[str], folder: Path
) -> None:
    assert read_owner(str(folder), 0) is OwnerState.LIVING
    with pytest.raises(DataDirInUse, match="another instance of Drover uses"):
        InstanceLock(folder).acquire()
    assert holder.poll() is None


def test_a_killed_instance_is_recent_then_dead_and_its_lock_is_free(
    holder: subprocess.Popen[str], folder: Path
) -> None:
    holder.kill()
    holder.wait(10)
    assert read_owner(str(folder), 60) is OwnerState.RECENT
    os.utime(folder / "lock", (0, 0))
    assert read_owner(str(folder), 60) is OwnerState.DEAD
    successor = InstanceLock(folder)
    successor.acquire()
    assert read_owner(str(folder), 60) is OwnerState.LIVING
    successor.release()


def test_a_stop_updates_the_last_sign_of_life(holder: subprocess.Popen[str], folder: Path) -> None:
    os.utime(folder / "lock", (0, 0))
    holder.communicate("\n", timeout=10)
    assert read_owner(str(folder), 60) is OwnerState.RECENT


def test_a_child_process_does_not_keep_the_lock(folder: Path) -> None:
    lock = InstanceLock(folder)
    lock.acquire()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        assert read_owner(str(folder), 0) is OwnerState.DEAD
        child.kill()


def test_reading_the_owner_never_prevents_a_start(folder: Path) -> None:
    over = threading.Event()
    (folder / "lock").touch()

    def read_repeatedly() -> None:
        while not over.is_set():
            read_owner(str(folder), 0)

    readers = [threading.Thread(target=read_repeatedly) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(20):
            lock = InstanceLock(folder)
            lock.acquire()
            lock.release()
    finally:
        over.set()
        for reader in readers:
            reader.join()


@pytest.mark.usefixtures("_short_timeouts")
@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed on Windows")
def test_another_instance_is_kept_out_although_the_lock_file_was_removed(
    holder: subprocess.Popen[str], folder: Path
) -> None:
    (folder / "lock").unlink()
    with pytest.raises(DataDirInUse, match="another instance of Drover uses"):
        InstanceLock(folder).acquire()
    assert holder.poll() is None


@pytest.mark.usefixtures("_short_timeouts")
@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed on Windows")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_removed_or_replaced_lock_file_is_renewed(folder: Path, replaced: bool) -> None:
    lock = InstanceLock(folder)
    lock.acquire()
    assert not lock.renew()
    (folder / "lock").unlink()
    if replaced:
        (folder / "lock").touch()
    descriptors = psutil.Process().num_fds()
    assert lock.renew()
    assert not lock.renew()
    assert read_owner(str(folder), 0) is OwnerState.LIVING
    assert psutil.Process().num_fds() <= descriptors
    lock.release()
    InstanceLock(folder).acquire()


@pytest.mark.usefixtures("_short_timeouts")
@pytest.mark.skipif(sys.platform == "win32", reason="an open folder cannot be removed on Windows")
def test_a_folder_that_another_instance_has_taken_in_the_meantime_is_not_taken_back(folder: Path) -> None:
    data_dir = folder / "d"
    data_dir.mkdir()
    first, second = InstanceLock(data_dir), InstanceLock(data_dir)
    first.acquire()
    data_dir.rename(folder / "away")
    data_dir.mkdir()
    second.acquire()
    with pytest.raises(DataDirInUse):
        first.renew()
    first.release()
    assert read_owner(str(data_dir), 0) is OwnerState.LIVING
    second.release()


@pytest.mark.usefixtures("_short_timeouts")
def test_a_lock_is_taken_once_and_may_be_released_twice(folder: Path) -> None:
    lock = InstanceLock(folder)
    lock.acquire()
    with pytest.raises(DataDirInUse):
        lock.acquire()
    lock.release()
    lock.release()


def test_a_file_system_without_locks_prevents_the_start_with_a_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: int) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(instance_lock, "_take", no_locks)
    with pytest.raises(StartRefused, match=r"cannot be locked \(No locks available\).*a local disk"):
        InstanceLock(folder).acquire()
    monkeypatch.undo()
    lock = InstanceLock(folder)
    lock.acquire()
    lock.release()


def test_a_lock_that_cannot_be_opened_prevents_the_start(folder: Path) -> None:
    (folder / "lock").mkdir()
    advice = "DROVER_DATA_DIR is .*cannot be opened .*choose a folder that this user can write to"
    with pytest.raises(StartRefused, match=advice):
        InstanceLock(folder).acquire()
