from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.capabilities.tables import Ignored
from drover.browser.health import Cause
from drover.browser.recovery import Method, Recovery
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import Deadline
from drover.core.errors import NothingKept, StartObstructed, StartRefused, StorageUnavailable
from drover.processes.host import boot
from drover.processes.host.boot import boot_id
from drover.processes.table import ProcessIdentity
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.persistence.records import LeaseRecord, SessionRecord, from_row, to_document
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.pool.session import KeepAlive, Session, SessionState
from drover.storage import database as store_module
from drover.storage import schema
from drover.storage.changes import (
    Change,
    Clear,
    EndSession,
    ForgetKey,
    KeepForKey,
    Owner,
    SaveSession,
    SaveState,
    owner_of,
)
from drover.storage.database import SessionDatabase
from drover.storage.kept_profiles import KeptProfiles
from drover.storage.schema import SCHEMA_VERSION
from drover.storage.session_folders import SessionFolder
from drover.storage.store import DatabaseLocked
from tests.systems import NEEDS_MODES

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 22, 19, 40, 0, 123456, tzinfo=timezone.utc)
RUNNING = RunningBrowser(
    driver=ProcessIdentity(4711, 1234.56),
    driver_url="http://127.0.0.1:41234",
    driver_session_id="abc",
    browser=ProcessIdentity(4720, 1234.78),
    browser_version="156.0.8078.79",
    debugger_address="127.0.0.1:39999",
    browser_guid="guid-1",
)
SESSION = Session(
    session_id="session_1",
    key="Konto 17 \U0001f600",
    folder=SessionFolder(Path("/data/s/abcdefgh")),
    capabilities=CheckedCapabilities(
        {"timeouts": {"script": 1}, "goog:chromeOptions": {"args": ["--lang=de"]}}, (Ignored("x", "why"),)
    ),
    first_page="https://example.org/",
    idle_timeout=1800,
    created_at=NOW - timedelta(hours=1),
    last_used=NOW - timedelta(seconds=90),
    last_used_mono=10.0,
    state=SessionState.READY,
    generation=3,
    running=RUNNING,
    recoveries=1,
    last_recovery=Recovery(Cause.DRIVER_GONE, Method.REATTACHED, 0, 131),
    epoch=1,
    revision=3,
)
STORED = SessionRecord.of(SESSION, "boot-1")
WRITER = """
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from tests.integration.test_session_database import inserted, numbered
from drover.storage.changes import SaveState, owner_of
from drover.storage.database import SessionDatabase
store = SessionDatabase(Path(sys.argv[1]))
assert store.open() is None
now = datetime.now(timezone.utc)
for number in range(1_000_000):
    changed = replace(numbered(number % 7), revision=number + 1)
    store.write([inserted(changed), SaveState(owner_of(changed), "x" * 20_000 + str(number), now)])
    print(changed.session_id, number, flush=True)
"""


@pytest.fixture(name="path")
def _path(folder: Path) -> Path:
    return folder / "sessions.db"


@pytest.fixture(name="store")
def _store(path: Path) -> Iterator[SessionDatabase]:
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        yield store


def inserted(record: SessionRecord) -> SaveSession:
    """Return the change that inserts a session."""
    return SaveSession(owner_of(record), record.revision, to_document(record), is_new=True)


def updated(record: SessionRecord) -> SaveSession:
    """Return the change that saves a session if it is in the database."""
    return replace(inserted(record), is_new=False)


def numbered(number: int) -> SessionRecord:
    """Return one of several sessions."""
    return replace(STORED, session_id=f"session_{number}", key=None, epoch=number + 1)


def state(record: SessionRecord, text: str) -> SaveState:
    """Return the change that saves the state of a session's browser."""
    return SaveState(owner_of(record), text, NOW)


def sessions_in(store: SessionDatabase) -> tuple[SessionRecord, ...]:
    """Return the sessions in a database, without those that cannot be read."""
    return tuple(record for row in store.load_all() if (record := from_row(row)))


def made(path: Path, sessions: int = 1) -> bytes:
    """Create a database with some sessions and states, and return its content."""
    with closing(SessionDatabase(path)) as store:
        store.open()
        for number in range(sessions):
            store.write([inserted(numbered(number)), state(numbered(number), "s" * 9000)])
    return path.read_bytes()


def is_set_aside(path: Path) -> str:
    """Open a store at a path with foreign content, assert that it works, and return the warnings."""
    content = path.read_bytes() if path.is_file() else None
    with closing(SessionDatabase(path)) as store:
        found = store.open()
        assert found
        assert found.path.parent == path.parent
        assert found.path.name.startswith("sessions.db.set-aside-")
        assert content is None or found.path.read_bytes() == content
        assert sessions_in(store) == ()
        store.write([inserted(STORED)])
    return found.reason


def test_a_saved_session_is_loaded_unchanged(path: Path, store: SessionDatabase) -> None:
    whole = replace(
        STORED,
        keep_alive=KeepAlive("https://example.org/", 60.5),
        lease=LeaseRecord(None, "t", NOW),
    )
    store.write([inserted(whole)])
    with closing(SessionDatabase(path)) as again:
        assert again.open() is None
        assert sessions_in(again) == (whole,)


def test_a_document_with_unknown_fields_is_read(path: Path, store: SessionDatabase) -> None:
    store.write([inserted(STORED)])
    with closing(sqlite3.connect(path)) as other:
        for place in ("$.later", "$.last_recovery.later", "$.running.later"):
            other.execute("UPDATE sessions SET document = json_set(document, ?, json('[1]'))", (place,))
        other.commit()
    assert sessions_in(store) == (STORED,)


def test_a_record_of_a_session_recreates_the_same_session() -> None:
    again = STORED.to_session(now_mono=500.0, now=NOW)
    assert again == replace(SESSION, last_used_mono=410.0)


def test_the_record_of_a_session_that_is_driven_says_that_it_is_used_now() -> None:
    assert SessionRecord.of(replace(SESSION, commands=1), "boot-1").last_used > SESSION.last_used
    assert SessionRecord.of(replace(SESSION, callers=1), "boot-1").last_used == SESSION.last_used


def test_a_clock_set_back_moves_no_last_use_into_the_future() -> None:
    assert STORED.to_session(now_mono=500.0, now=NOW - timedelta(days=1)).last_used_mono == 500.0


def test_a_clock_set_back_extends_no_lease() -> None:
    lease = LeaseRecord(None, "token", NOW + timedelta(seconds=60))
    leased = replace(STORED, last_used=NOW, lease=lease)
    there = leased.to_session(now_mono=500.0, now=NOW - timedelta(days=1)).lease
    assert there is not None
    assert there.expires_mono == 560.0


def test_sessions_are_ordered_by_creation_and_the_last_save_counts(store: SessionDatabase) -> None:
    for number in (1, 0, 2):
        store.write([inserted(numbered(number))])
    changed = replace(numbered(1), key="k", revision=4)
    store.write([updated(changed)])
    assert sessions_in(store) == (numbered(0), changed, numbered(2))


def test_an_earlier_revision_does_not_overwrite_a_later_one(store: SessionDatabase) -> None:
    later = replace(STORED, revision=5, recoveries=2)
    store.write([inserted(later)])
    store.write([inserted(STORED), updated(STORED)])
    assert sessions_in(store) == (later,)


def test_an_update_does_not_restore_a_deleted_session(store: SessionDatabase) -> None:
    used = replace(STORED, last_used=NOW, revision=4)
    store.write([inserted(STORED), updated(used)])
    assert sessions_in(store) == (used,)
    store.write([EndSession(owner_of(STORED))])
    store.write([updated(replace(used, revision=5)), state(used, "{}")])
    assert sessions_in(store) == ()
    assert store.load_state(owner_of(STORED)) is None


def test_what_comes_too_late_for_a_session_does_not_affect_a_new_one_with_its_id(
    store: SessionDatabase,
) -> None:
    new = replace(STORED, epoch=2, revision=1, key=None)
    store.write([inserted(STORED)])
    store.write([inserted(new), state(new, "new")])
    late: list[Change] = [
        updated(replace(STORED, revision=99)),
        inserted(replace(STORED, revision=99)),
        state(STORED, "old"),
        KeepForKey(owner_of(STORED), "k", "old", NOW),
        EndSession(owner_of(STORED)),
    ]
    for change in late:
        store.write([change])
    assert sessions_in(store) == (new,)
    found = store.load_state(owner_of(new))
    assert found
    assert found.state == "new"
    assert store.load_for_key("k") is None


def test_deleting_a_session_deletes_its_state(store: SessionDatabase) -> None:
    store.write([inserted(STORED), state(STORED, '{"cookies": 1}'), state(STORED, '{"cookies": 2}')])
    found = store.load_state(owner_of(STORED))
    assert found
    assert (found.state, found.taken_at) == ('{"cookies": 2}', NOW)
    store.write([EndSession(owner_of(STORED))])
    store.write([inserted(STORED)])
    assert store.load_state(owner_of(STORED)) is None


def test_state_kept_for_a_key_outlives_its_session_until_it_is_forgotten(store: SessionDatabase) -> None:
    store.write([inserted(STORED), KeepForKey(owner_of(STORED), "k", "{}", NOW)])
    store.write([EndSession(owner_of(STORED))])
    kept = store.load_for_key("k")
    assert kept
    assert kept == store.load_for_key("k")
    store.write([ForgetKey(Owner("one", 1), "k")])
    assert store.load_for_key("k") is None


def test_a_damaged_row_of_what_is_kept_does_not_hide_the_others(path: Path, store: SessionDatabase) -> None:
    store.write([KeepForKey(None, key, "{}", NOW) for key in ("damaged", "good")])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE kept SET taken_at = '?' WHERE key = 'damaged'")
    assert [one.key for one in store.load_kept()] == ["good"]


def test_a_login_that_cannot_be_read_can_be_forgotten(store: SessionDatabase, tmp_path: Path) -> None:
    store.write([KeepForKey(None, "k", "damaged", NOW)])
    registry: Any = None
    repository = SessionRepository(store, "boot", lambda _: None)
    kept = KeptLogins(registry, repository, registry, KeptProfiles(tmp_path))
    assert repository.kept_for_key("k") is None
    repository._writer.start()
    kept.forget("k", Deadline(60))
    assert store.load_kept() == ()
    with pytest.raises(NothingKept):
        kept.forget("k", Deadline(60))
    repository._writer.stop()


def test_all_changes_of_a_write_are_made_or_none(store: SessionDatabase) -> None:
    unwritable = SaveSession(Owner("x", 2), 1, "\ud800", is_new=True)
    with pytest.raises(UnicodeEncodeError):
        store.write([inserted(STORED), unwritable])
    assert sessions_in(store) == ()


def test_no_data_is_left_in_the_files_after_clearing(path: Path, store: SessionDatabase) -> None:
    secret = "session-cookie-4711"
    store.write([inserted(STORED), state(STORED, secret * 3000)])
    store.write([KeepForKey(owner_of(STORED), "k", secret, NOW)])
    store.write([Clear(9)])
    assert sessions_in(store) == ()
    assert store.load_state(owner_of(STORED)) is None
    assert store.load_for_key("k") is None
    for file in path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_many_threads_may_use_it_at_once(store: SessionDatabase) -> None:
    def work(thread: int) -> None:
        for number in range(20):
            changed = replace(numbered(thread), revision=number + 1)
            store.write([inserted(changed), state(changed, str(number))])
            store.load_all()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert [session.revision for session in sessions_in(store)] == [20] * 8


def test_the_database_of_the_first_version_is_migrated_in_place(path: Path) -> None:
    fill_version_1(path, to_document(STORED))
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        first, second = sessions_in(store)
        assert (first.session_id, second.session_id) == ("b", "a")
        assert first.epoch < second.epoch == store.last_epoch()
        assert first.key == STORED.key
        found, kept = store.load_state(owner_of(first)), store.load_for_key("k")
        assert found
        assert (found.state, found.taken_at) == ("of b", NOW)
        assert kept
        assert kept.state == "of k"
        store.write([updated(replace(first, revision=1, recoveries=7))])
    with closing(SessionDatabase(path)) as again:
        assert again.open() is None
        assert sessions_in(again)[0].recoveries == 7
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_migration_that_fails_changes_nothing_and_is_made_at_the_next_start(path: Path) -> None:
    fill_version_1(path, to_document(STORED))
    before = path.read_bytes()
    with no_room(), pytest.raises(StartRefused):
        SessionDatabase(path).open()
    assert path.read_bytes() == before
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        assert len(sessions_in(store)) == 2


def fill_version_1(path: Path, document: str) -> None:
    """Make a database as the first version did."""
    with closing(sqlite3.connect(path)) as old:
        for table in schema._SCHEMA_1:
            old.execute(table)
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        for name in ("b", "a"):
            row = document.replace(STORED.session_id, name)
            old.execute(
                "INSERT INTO sessions (session_id, generation, document) VALUES (?, 3, ?)", (name, row)
            )
        old.execute("INSERT INTO states VALUES ('b', 'of b', ?)", (NOW.isoformat(),))
        old.execute("INSERT INTO kept VALUES ('k', 'of k', ?)", (NOW.isoformat(),))
        old.commit()


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.2, 0.4])
def test_a_killed_writer_loses_no_completed_save(path: Path, delay_s: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        first = writer.stdout.readline()
        assert first
        time.sleep(delay_s)
        writer.kill()
        saved = [line.split() for line in (first + writer.stdout.read()).splitlines(keepends=True)[:-1]]
    newest = {name: int(number) for name, number in saved}
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        found = {session.session_id: session for session in sessions_in(store)}
        for name, number in newest.items():
            assert found[name].revision > number
            stored = store.load_state(owner_of(found[name]))
            assert stored
            assert int(stored.state.lstrip("x")) >= number
        store.write([inserted(STORED)])


@NEEDS_MODES
@pytest.mark.parametrize("mask", [0o022, 0o000, 0o077])
def test_the_files_are_private_from_the_first_byte(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with closing(SessionDatabase(path)) as store:
            store.open()
            store.write([inserted(STORED)])
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}


@NEEDS_MODES
def test_files_that_others_could_read_are_made_private(path: Path) -> None:
    made(path)
    path.chmod(0o644)
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\0", os.urandom(50_000), b"\0" * 8192])
def test_a_file_that_is_not_a_database_is_set_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "not a database" in is_set_aside(path)


def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        store.write([inserted(STORED)])


def test_a_database_that_may_not_be_opened_is_left_in_place_and_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path.write_bytes(b"another user's")
    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(StartObstructed, match="cannot be used"):
        SessionDatabase(path).open()
    assert path.read_bytes() == b"another user's"


def test_a_folder_in_place_of_the_database_is_set_aside(path: Path) -> None:
    path.mkdir()
    assert "directory" in is_set_aside(path)


def test_the_database_of_another_program_is_set_aside_unchanged_with_its_log(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL").fetchall()
        other.execute("CREATE TABLE places (url TEXT)")
        other.execute("INSERT INTO places VALUES ('x')")
        other.commit()
        # As a killed program leaves it: with its last writes in the log.
        copies = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for name, content in copies.items():
        (path.parent / name).write_bytes(content)
    with closing(SessionDatabase(path)) as store:
        found = store.open()
        assert found
        assert found.reason == "it belongs to another program"
    with closing(sqlite3.connect(found.path)) as other:
        assert other.execute("SELECT url FROM places").fetchall() == [("x",)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "a newer version of Drover created it"),
        ("PRAGMA user_version = 0", "its tables do not match Drover's schema"),
        ("DROP TABLE kept", "its tables do not match Drover's schema"),
        ("ALTER TABLE states ADD COLUMN more", "its tables do not match Drover's schema"),
        ("PRAGMA application_id = 1", "it belongs to another program"),
    ],
)
def test_a_database_of_an_unknown_version_is_set_aside(path: Path, change: str, reason: str) -> None:
    made(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute(change)
        other.commit()
    assert is_set_aside(path) == reason


@pytest.mark.parametrize("part", [0.1, 0.4, 0.7, 0.95])
def test_a_truncated_database_is_set_aside(path: Path, part: float) -> None:
    content = made(path, sessions=20)
    path.write_bytes(content[: int(len(content) * part)])
    assert "malformed" in is_set_aside(path)


@pytest.mark.parametrize("seed", range(40))
def test_the_store_opens_and_works_after_any_damage(path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - damage, no secrets
    content = bytearray(made(path, sessions=20))
    for _ in range(chance.choice([1, 5, 50])):
        at = chance.randrange(chance.choice([100, 600, len(content)]))
        content[at : at + 4] = chance.randbytes(4)
    path.write_bytes(content)
    with closing(SessionDatabase(path)) as store:
        store.open()
        for session in sessions_in(store):
            store.load_state(owner_of(session))
        new = replace(STORED, epoch=store.last_epoch() + 1)
        store.write([inserted(new)])
        assert new in sessions_in(store)


@pytest.mark.parametrize("document", ["{}", "nonsense", None, 7, b"\xff\xfe", "[]"])
def test_an_unreadable_row_does_not_affect_the_others(path: Path, document: object) -> None:
    made(path, sessions=3)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE sessions SET document = ? WHERE session_id = 'session_1'", (document,))
        other.commit()
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        assert len(store.load_all()) == 3
        assert [session.session_id for session in sessions_in(store)] == ["session_0", "session_2"]
        new = replace(numbered(1), epoch=store.last_epoch() + 1)
        store.write([inserted(new)])
        assert all(map(from_row, store.load_all()))


def test_damage_at_run_time_is_reported_and_does_not_end_the_service(
    path: Path, store: SessionDatabase
) -> None:
    for number in range(50):
        store.write([inserted(numbered(number))])
    # Changes of another connection are read again from the file.
    with closing(SessionDatabase(path)) as other:
        other.open()
        other.write([Clear(9)])
    path.write_bytes(b"\xff" * path.stat().st_size)
    for change in (Clear(9), inserted(STORED), EndSession(owner_of(STORED))):
        with pytest.raises(StorageUnavailable, match="check that the disk is not full"):
            store.write([change])
    with pytest.raises(StorageUnavailable, match="check that the disk is not full"):
        store.load_all()
    store.close()
    assert "not a database" in is_set_aside(path)


def test_a_full_disk_fails_the_write_and_nothing_else(path: Path, store: SessionDatabase) -> None:
    store.write([inserted(STORED)])
    writer = store._connections().writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    with pytest.raises(StorageUnavailable, match="disk is full"):
        store.write([state(STORED, "x" * 100_000)])
    assert sessions_in(store) == (STORED,)
    assert store.load_state(owner_of(STORED)) is None
    store.write([EndSession(owner_of(STORED))])
    writer.execute("PRAGMA max_page_count = 100000").fetchall()
    store.write([inserted(STORED), state(STORED, "x" * 100_000)])


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file of ours grow, as on a full disk; this includes the test report, so be brief."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_at_the_start_prevents_it_and_sets_nothing_aside(path: Path) -> None:
    content = made(path)
    with no_room(), pytest.raises(StartRefused, match="check that the disk is not full"):
        SessionDatabase(path).open()
    assert path.read_bytes() == content
    assert not list(path.parent.glob("*.set-aside-*"))


def test_a_locked_database_prevents_the_start_and_stays_in_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "OPEN_BUSY_S", 0.1)
    content = made(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StartRefused, match="database is locked"):
            SessionDatabase(path).open()
    assert path.read_bytes() == content


def test_a_lock_of_another_program_delays_no_reader(path: Path, store: SessionDatabase) -> None:
    store.write([inserted(STORED), state(STORED, "{}")])
    store._connections().writer.execute("PRAGMA busy_timeout = 1").fetchall()
    with closing(sqlite3.connect(path, isolation_level=None)) as backup:
        backup.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked, match="Another program has locked"):
            store.write([EndSession(owner_of(STORED))])
        assert sessions_in(store) == (STORED,)
        assert store.load_state(owner_of(STORED))
    store.write([EndSession(owner_of(STORED))])


READ_ONLY = """
import os, sys
from pathlib import Path
from drover.core.errors import StartRefused
from drover.storage.database import SessionDatabase
path = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
try:
    SessionDatabase(path).open()
except StartRefused as error:
    print("refused", error)
"""


@pytest.mark.parametrize("existing", ["none", "ours", "random bytes"])
@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such mode on Windows")
def test_a_folder_that_cannot_be_written_prevents_the_start(path: Path, existing: str) -> None:
    if existing == "ours":
        made(path)
    elif existing == "random bytes":
        path.write_bytes(os.urandom(9000))
    for parent in (path.parent, path.parent.parent):
        parent.chmod(0o755)
    if existing != "none":
        path.chmod(0o666)
    path.parent.chmod(0o555)
    try:
        command = [sys.executable, "-c", READ_ONLY, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    finally:
        path.parent.chmod(0o700)
    assert done.stdout.startswith(f"refused {path} cannot be used"), done.stderr
    assert done.stdout.count("\n") == 1


def test_calls_after_close_are_refused_with_a_message(store: SessionDatabase) -> None:
    store.close()
    store.close()
    with pytest.raises(StorageUnavailable, match="closed"):
        store.write([inserted(STORED)])


PARTS = ["sessions.db", "sessions.db-wal", "sessions.db-shm"]


@pytest.mark.parametrize(
    "removed", [PARTS, *([part] for part in PARTS), PARTS[:2], PARTS[1:], [PARTS[0], PARTS[2]]], ids=",".join
)
@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be removed on Windows")
def test_files_that_were_removed_are_put_back_with_all_they_held(
    path: Path, store: SessionDatabase, removed: list[str]
) -> None:
    store.write([inserted(numbered(0)), state(numbered(0), "kept")])
    for name in removed:
        (path.parent / name).unlink()
    store.write([inserted(numbered(1))])
    left = path.parent / "as-a-crash-leaves-it"
    left.mkdir()
    for file in path.parent.glob("sessions.db*"):
        shutil.copy(file, left)
    with closing(SessionDatabase(left / path.name)) as again:
        assert again.open() is None
        assert sessions_in(again) == (numbered(0), numbered(1))
        found = again.load_state(owner_of(numbered(0)))
        assert found
        assert found.state == "kept"
    store.check_files()
    assert sessions_in(store) == (numbered(0), numbered(1))
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("sessions.db*")} == {0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be replaced on Windows")
def test_a_foreign_file_in_the_place_of_the_database_is_set_aside_while_it_runs(
    path: Path, store: SessionDatabase
) -> None:
    store.write([inserted(STORED)])
    foreign = path.with_name("foreign")
    foreign.write_bytes(b"not ours")
    foreign.replace(path)
    store.check_files()
    assert sessions_in(store) == (STORED,)
    (aside,) = path.parent.glob("*.set-aside-*")
    assert aside.read_bytes() == b"not ours"


@pytest.mark.skipif(sys.platform == "win32", reason="an open folder cannot be removed on Windows")
def test_a_folder_that_is_gone_fails_the_write_until_it_is_back(path: Path, store: SessionDatabase) -> None:
    store.write([inserted(numbered(0))])
    shutil.rmtree(path.parent)
    with pytest.raises(StorageUnavailable, match="No such file"):
        store.write([inserted(numbered(1))])
    path.parent.mkdir()
    store.write([inserted(numbered(1))])
    with closing(SessionDatabase(path)) as again:
        assert again.open() is None
        assert sessions_in(again) == (numbered(0), numbered(1))


def test_two_files_set_aside_in_a_row_have_two_names(path: Path) -> None:
    for _ in range(2):
        path.write_bytes(b"nonsense")
        (path.parent / "sessions.db-wal").unlink(missing_ok=True)
        is_set_aside(path)
    assert len(list(path.parent.glob("*.set-aside-*"))) == 2


def test_the_boot_id_is_constant_while_the_machine_runs() -> None:
    assert boot_id() == boot_id()
    # Windows needs none: pid and start time are unique there.
    assert bool(boot_id()) is (sys.platform != "win32")


def test_the_boot_minute_replaces_a_boot_id_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(boot, "_KERNEL_BOOT_ID", folder / "nothing")
    assert int(boot_id()) % 60 == 0
