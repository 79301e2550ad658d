"""The use cases of sessions while the disk is full or another program has locked the session database."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from drover.browser import launcher
from drover.browser.driver_state import NO_DRIVER_STATE
from drover.browser.launcher import Launcher
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import SavedState
from drover.core.deadline import Deadline
from drover.core.errors import SessionNotFound, StorageUnavailable
from drover.core.jobs import Jobs
from drover.processes.session_mark import OwnerState
from drover.sessions.lifecycle import shutdown
from drover.sessions.persistence import repository, writer
from drover.sessions.persistence.records import SessionRecord, from_row
from drover.sessions.pool.session import Lease, Session, SessionState
from drover.storage import database
from drover.storage.changes import Change, Owner
from drover.storage.database import SessionDatabase
from drover.storage.instance_lock import read_owner
from drover.storage.session_folders import SessionFolder
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness
from tests.machine import PATIENCE, run_concurrently, wait_until
from tests.unit.examples import NOW

BRIEF_S = 0.2 * PATIENCE
"""How long a promise waits for the disk in these tests."""


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    for module in (writer, repository):
        monkeypatch.setattr(module, "PROMISE_S", BRIEF_S)
    monkeypatch.setattr(database, "BUSY_S", BRIEF_S / 10)
    with running_harness(folder, monkeypatch, max_sessions=2) as harness:
        yield harness


@contextmanager
def locked(harness: ServiceHarness) -> Iterator[None]:
    """Let another program hold the lock of the session database."""
    with closing(sqlite3.connect(harness.data_dir / "drover.db", isolation_level=None)) as backup:
        backup.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no file of the session database grow."""

    def write(_: SessionDatabase, changes: Sequence[Change]) -> frozenset[Owner]:
        if changes:
            raise StorageUnavailable("the disk is full")
        return frozenset()

    with monkeypatch.context() as patch:
        patch.setattr(SessionDatabase, "write", write)
        yield


def deadline() -> Deadline:
    return Deadline(TIMEOUT_S)


def close(harness: ServiceHarness, session_id: str, *, keep: bool = False) -> None:
    harness.manager.close(session_id, deadline(), keep=keep)


def on_disk(harness: ServiceHarness) -> dict[str, SessionRecord]:
    """Return what the next start would find if the service was killed now."""
    with closing(SessionDatabase(harness.data_dir / "drover.db")) as store:
        assert store.open() is None
        return {record.session_id: record for row in store.load_all() if (record := from_row(row))}


def flushed(harness: ServiceHarness) -> None:
    """Wait until nothing is left to write."""
    wait_until(lambda: not harness.manager._repository._writer.look(bool), "all is written")


def has_trouble(harness: ServiceHarness) -> bool:
    return harness.manager._repository.trouble is not None


def remember(harness: ServiceHarness, session: Session, url: str) -> SavedState:
    """Save a state of a session, as if it had been taken from its browser."""
    state = SavedState(url)
    harness.service.sessions.state_saver.remember(session, state)
    harness.manager._repository.save_state(session, state)
    return state


def test_a_session_whose_deletion_cannot_be_written_is_closing_until_it_is(harness: ServiceHarness) -> None:
    session = harness.acquire("a", "k").session
    remember(harness, session, "https://login.example/")
    with locked(harness):
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="Another program has locked"):
                close(harness, "a")
            (listed,) = harness.registry.sessions()
            assert listed.state is SessionState.CLOSING
            with pytest.raises(StorageUnavailable, match="deletion is not on disk yet"):
                harness.acquire("a")
        assert not session.folder.path.exists()
    # The writer's next attempt may come later than a request waits here.
    flushed(harness)
    with suppress(SessionNotFound):
        close(harness, "a")
    assert harness.registry.sessions() == ()
    assert on_disk(harness) == {}


def test_a_deletion_is_retried_without_being_asked_for(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.acquire("a")
    with full(monkeypatch), pytest.raises(StorageUnavailable, match="the disk is full"):
        close(harness, "a")
    flushed(harness)
    assert on_disk(harness) == {}
    wait_until(lambda: harness.registry.sessions() == (), "the session is closed", 20)


def test_an_emergency_that_cannot_clear_the_disk_says_so_and_clears_it_later(harness: ServiceHarness) -> None:
    session = harness.acquire("a", "k").session
    remember(harness, session, "https://login.example/")
    flushed(harness)
    with locked(harness):
        assert not harness.service.sessions.emergency.run(Deadline(BRIEF_S + 5)).cleared
        assert on_disk(harness).keys() == {"a"}
    flushed(harness)
    assert on_disk(harness) == {}
    assert harness.manager._repository.kept_for_key("k") is None
    assert harness.service.sessions.emergency.run(deadline()).cleared


def test_the_slow_close_of_a_session_before_an_emergency_does_not_delete_a_new_one_with_its_id(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = harness.acquire("a").session
    reached, go_on = threading.Event(), threading.Event()
    end = repository.SessionRepository.end

    def slow(self: repository.SessionRepository, session: Session) -> None:
        if session.birth == old.birth:
            reached.set()
            assert go_on.wait(TIMEOUT_S)
        end(self, session)

    monkeypatch.setattr(repository.SessionRepository, "end", slow)
    closing_old = harness.run_in_thread(lambda: close(harness, "a"))
    assert reached.wait(TIMEOUT_S)
    monkeypatch.setattr("process_cleanup.EMERGENCY_WAIT_S", 0.01)
    assert harness.service.sessions.emergency.run(deadline()).cleared
    new = harness.acquire("a").session
    state = remember(harness, new, "https://new.example/")
    go_on.set()
    closing_old.result(TIMEOUT_S)
    flushed(harness)
    assert harness.registry.get("a").birth == new.birth != old.birth
    assert harness.service.sessions.state_saver.state_of(new) == state
    (record,) = on_disk(harness).values()
    assert (record.epoch, record.folder) == (new.epoch, str(new.folder.path))
    assert harness.manager._repository.state_of(record) == state


def test_a_session_that_a_stop_could_not_close_in_time_has_ended_on_disk_and_is_named(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.acquire("a")
    go_on = threading.Event()
    stop = Launcher.stop

    def slow(self: Launcher, folder: SessionFolder, running: RunningBrowser | None) -> None:
        assert go_on.wait(TIMEOUT_S)
        stop(self, folder, running)

    monkeypatch.setattr(shutdown, "STOP_S", BRIEF_S)
    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "stop", slow)
        assert harness.service.sessions.shutdown.stop(keep_browsers=False) == ("a",)
        flushed(harness)
        assert on_disk(harness) == {}
        go_on.set()
    wait_until(lambda: harness.registry.sessions() == (), "the session is closed", TIMEOUT_S)


def test_a_session_that_is_closed_by_the_end_of_a_stop_is_not_named(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.acquire("a")
    go_on = threading.Event()
    stop, close = Launcher.stop, Jobs.close

    def slow(self: Launcher, folder: SessionFolder, running: RunningBrowser | None) -> None:
        assert go_on.wait(TIMEOUT_S)
        stop(self, folder, running)

    def close_later(self: Jobs, timeout: float) -> tuple[str, ...]:
        go_on.set()
        wait_until(lambda: harness.registry.sessions() == (), "the session is closed", TIMEOUT_S)
        return close(self, timeout)

    monkeypatch.setattr(shutdown, "STOP_S", BRIEF_S)
    monkeypatch.setattr(Jobs, "close", close_later)
    monkeypatch.setattr(Launcher, "stop", slow)
    harness.service.stop()
    assert harness.has_logged("Stopped")


def test_concurrent_changes_of_a_session_are_on_disk_as_they_are_in_memory(harness: ServiceHarness) -> None:
    harness.acquire("a")
    registry = harness.registry

    def lease(number: int) -> None:
        for turn in range(20):
            held = Lease(None, f"{number}-{turn}", NOW, time.monotonic() + 60)
            registry.update("a", lambda known: replace(known, lease=held))  # noqa: B023 - it is called at once
            registry.update("a", lambda known: replace(known, lease=None, window=f"{number}-{turn}"))  # noqa: B023

    run_concurrently([lambda number=number: lease(number) for number in range(4)])  # type: ignore[misc]
    flushed(harness)
    known, record = registry.get("a"), on_disk(harness)["a"]
    assert (record.lease, record.window) == (None, known.window)


def test_a_locked_database_delays_nothing_that_promises_nothing(harness: ServiceHarness) -> None:
    harness.acquire("a", "k")
    flushed(harness)
    begun = time.monotonic()
    with locked(harness):
        # A retrieval, a report, a command's change, and what is kept for a key.
        assert not harness.acquire("a", "k").created
        assert harness.manager.check("a", deadline()).session.session_id == "a"
        harness.service.sessions.driver_access.client_changed_driver("a", NO_DRIVER_STATE, "w")
        assert harness.manager._repository.kept_for_key("k") is None
        assert time.monotonic() - begun < database.OPEN_BUSY_S
        assert on_disk(harness)["a"].window is None
    flushed(harness)
    assert on_disk(harness)["a"].window == "w"


def test_what_cannot_be_promised_in_time_is_refused_and_a_new_session_closed(
    harness: ServiceHarness,
) -> None:
    harness.acquire("a")
    with locked(harness):
        with pytest.raises(StorageUnavailable, match="Another program has locked"):
            harness.manager.lease("a", 60, "me", None, deadline())
        assert harness.registry.get("a").lease is None
        with pytest.raises(StorageUnavailable, match="Another program has locked"):
            harness.acquire("b")
    with pytest.raises(SessionNotFound):
        wait_until(lambda: harness.registry.get("b") is None, "the new session is closed", 20)
    flushed(harness)
    assert on_disk(harness).keys() == {"a"}
    assert on_disk(harness)["a"].lease is None


def test_an_existing_session_is_handed_out_although_the_end_of_its_lease_cannot_be_written(
    harness: ServiceHarness,
) -> None:
    harness.acquire("a", "k")
    harness.manager.lease("a", 0.1, None, None, deadline())
    with locked(harness):
        wait_until(lambda: harness.registry.get("a").lease is None, "the lease has expired")
        assert not harness.acquire("a", "k").created
        with pytest.raises(StorageUnavailable, match="Another program has locked"):
            harness.acquire("a", "k", idle=60.0)


def test_no_session_is_evicted_for_a_new_one_that_could_not_be_written(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        harness.acquire(name)
    drivers = harness.drivers()
    with full(monkeypatch):
        harness.service.sessions.driver_access.client_changed_driver("a", NO_DRIVER_STATE, "w")
        wait_until(lambda: has_trouble(harness), "the trouble is noticed")
        with pytest.raises(StorageUnavailable, match="the disk is full"):
            harness.acquire("c")
        assert harness.manager.unavailable == "the disk is full"
        assert not harness.acquire("b").created
        assert harness.drivers() == drivers
    wait_until(lambda: not has_trouble(harness), "the trouble is over")
    assert harness.acquire("c").created


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be removed on Windows")
@pytest.mark.parametrize("removed", ["lock", "drover.db", "s", "."])
def test_a_part_of_the_data_folder_that_is_removed_is_put_back(harness: ServiceHarness, removed: str) -> None:
    harness.acquire("before", "k")
    flushed(harness)
    if removed == "drover.db":
        for path in harness.data_dir.glob("drover.db*"):
            path.unlink()
    elif removed == "lock":
        (harness.data_dir / "lock").unlink()
    else:
        # At once, as the service writes into it and puts it back while it is being removed.
        away = (harness.data_dir / removed).rename(harness.data_dir.with_name("away"))
        shutil.rmtree(away)
    harness.service.storage.data_folder.check()
    assert harness.manager.unavailable is None
    assert harness.has_logged(r".* was removed while the service ran, and was put back.*")
    assert read_owner(str(harness.data_dir), 0) is OwnerState.LIVING
    assert harness.acquire("after").created
    assert not harness.acquire("before").created
    assert on_disk(harness).keys() == {"before", "after"}


@pytest.mark.skipif(sys.platform == "win32", reason="an open folder cannot be renamed on Windows")
def test_nothing_is_promised_while_the_data_folder_cannot_be_put_back(harness: ServiceHarness) -> None:
    harness.acquire("before")
    flushed(harness)
    away = harness.data_dir.with_name("away")
    harness.data_dir.rename(away)
    harness.data_dir.touch()
    harness.service.storage.data_folder.check()
    assert "cannot be put back" in str(harness.manager.unavailable)
    with pytest.raises(StorageUnavailable, match="cannot be put back"):
        harness.acquire("new")
    with pytest.raises(StorageUnavailable, match="cannot be put back"):
        harness.manager.lease("before", 60, None, None, deadline())
    assert not harness.acquire("before").created
    harness.data_dir.unlink()
    away.rename(harness.data_dir)
    harness.service.storage.data_folder.check()
    assert harness.manager.unavailable is None
    assert harness.acquire("new").created


def test_a_new_session_waits_for_one_write_and_a_found_one_for_none(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed(harness)
    permits = threading.Semaphore(1)
    write = SessionDatabase.write

    def one_at_a_time(self: SessionDatabase, changes: Sequence[Change]) -> frozenset[Owner]:
        assert permits.acquire(timeout=TIMEOUT_S)
        return write(self, changes)

    with monkeypatch.context() as patch:
        patch.setattr(SessionDatabase, "write", one_at_a_time)
        patch.setattr(writer, "PROMISE_S", TIMEOUT_S)
        try:
            assert harness.acquire("a", "k").created
            for _ in range(3):
                assert not harness.acquire("a", "k").created
        finally:
            permits.release(100)
            flushed(harness)
