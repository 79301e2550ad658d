from __future__ import annotations

import os
import random
import signal
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

import pytest

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.capabilities.tables import Ignored
from drover.browser.health import Cause
from drover.browser.recovery import Method, Recovery
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable, StartRefused
from drover.processes.host import boot
from drover.processes.host.boot import boot_id
from drover.processes.table import ProcessIdentity
from drover.sessions.persistence.records import LeaseRecord, SessionRecord, from_rows, to_row
from drover.sessions.pool.session import KeepAlive, Session, SessionState
from drover.storage import database as store_module
from drover.storage.database import SCHEMA_VERSION, SessionDatabase
from drover.storage.session_folders import SessionFolder

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
)
STORED = SessionRecord.of(SESSION, "boot-1")
WRITER = """
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from tests.integration.test_session_database import STORED
from drover.sessions.persistence.records import to_row
from drover.storage.database import SessionDatabase
store = SessionDatabase(Path(sys.argv[1]))
assert store.open() is None
now = datetime.now(timezone.utc)
for number in range(1_000_000):
    name = f"session_{number % 7}"
    store.save(to_row(replace(STORED, session_id=name, key=None, generation=number)))
    store.save_state(name, "x" * 20_000 + str(number), now)
    print(name, number, flush=True)
"""


@pytest.fixture(name="path")
def _path(folder: Path) -> Path:
    return folder / "sessions.db"


@pytest.fixture(name="store")
def _store(path: Path) -> Iterator[SessionDatabase]:
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        yield store


def made(path: Path, sessions: int = 1) -> bytes:
    """Create a database with some sessions and states, and return its content."""
    with closing(SessionDatabase(path)) as store:
        store.open()
        for number in range(sessions):
            store.save(to_row(replace(STORED, session_id=f"session_{number}", key=None)))
            store.save_state(f"session_{number}", "s" * 9000, NOW)
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
        assert from_rows(store.load_all()).sessions == ()
        store.save(to_row(STORED))
    return found.reason


def test_a_saved_session_is_loaded_unchanged(path: Path, store: SessionDatabase) -> None:
    whole = replace(
        STORED,
        keep_alive=KeepAlive("https://example.org/", 60.5),
        lease=LeaseRecord(None, "t", NOW),
    )
    store.save(to_row(whole))
    with closing(SessionDatabase(path)) as again:
        assert again.open() is None
        assert from_rows(again.load_all()).sessions == (whole,)


def test_a_record_of_a_session_recreates_the_same_session() -> None:
    again = STORED.to_session(now_mono=500.0, now=NOW)
    assert again == replace(SESSION, last_used_mono=410.0)


def test_a_clock_set_back_moves_no_last_use_into_the_future() -> None:
    assert STORED.to_session(now_mono=500.0, now=NOW - timedelta(days=1)).last_used_mono == 500.0


def test_a_clock_set_back_extends_no_lease() -> None:
    lease = LeaseRecord(None, "token", NOW + timedelta(seconds=60))
    leased = replace(STORED, last_used=NOW, lease=lease)
    there = leased.to_session(now_mono=500.0, now=NOW - timedelta(days=1)).lease
    assert there is not None
    assert there.expires_mono == 560.0


def test_sessions_are_ordered_by_creation_and_the_last_save_counts(store: SessionDatabase) -> None:
    for name in ("b", "a", "c"):
        store.save(to_row(replace(STORED, session_id=name, key=None)))
    changed = replace(STORED, session_id="b", key="k", generation=4)
    store.save(to_row(changed))
    loaded = from_rows(store.load_all()).sessions
    assert [session.session_id for session in loaded] == ["b", "a", "c"]
    assert loaded[0] == changed


def test_a_delayed_save_does_not_overwrite_a_newer_one(store: SessionDatabase) -> None:
    later = replace(STORED, generation=5, recoveries=2)
    store.save(to_row(later))
    store.save(to_row(STORED))
    store.update(to_row(STORED))
    assert from_rows(store.load_all()).sessions == (later,)


def test_an_update_does_not_restore_a_deleted_session(store: SessionDatabase) -> None:
    store.save(to_row(STORED))
    used = replace(STORED, last_used=NOW)
    store.update(to_row(used))
    assert from_rows(store.load_all()).sessions == (used,)
    store.delete(STORED.session_id)
    store.update(to_row(used))
    store.save_state(STORED.session_id, "{}", NOW)
    assert from_rows(store.load_all()).sessions == ()
    assert store.load_state(STORED.session_id) is None


def test_deleting_a_session_deletes_its_state(store: SessionDatabase) -> None:
    store.save(to_row(STORED))
    store.save_state(STORED.session_id, '{"cookies": 1}', NOW)
    store.save_state(STORED.session_id, '{"cookies": 2}', NOW)
    state = store.load_state(STORED.session_id)
    assert state
    assert (state.state, state.taken_at) == ('{"cookies": 2}', NOW)
    store.delete(STORED.session_id)
    store.save(to_row(STORED))
    assert store.load_state(STORED.session_id) is None


def test_state_kept_for_a_key_outlives_its_session_until_it_is_forgotten(store: SessionDatabase) -> None:
    store.save(to_row(STORED))
    store.keep_for_key("k", "{}", NOW)
    store.delete(STORED.session_id)
    kept = store.load_for_key("k")
    assert kept
    assert kept == store.load_for_key("k")
    store.forget_key("k")
    assert store.load_for_key("k") is None


def test_no_data_is_left_in_the_files_after_clearing(path: Path, store: SessionDatabase) -> None:
    secret = "session-cookie-4711"
    store.save(to_row(STORED))
    store.save_state(STORED.session_id, secret * 3000, NOW)
    store.keep_for_key("k", secret, NOW)
    store.clear()
    assert from_rows(store.load_all()).sessions == ()
    assert store.load_state(STORED.session_id) is None
    assert store.load_for_key("k") is None
    for file in path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_many_threads_may_save_at_once(store: SessionDatabase) -> None:
    def work(thread: int) -> None:
        for number in range(20):
            store.save(to_row(replace(STORED, session_id=f"s{thread}", key=None, generation=number)))
            store.save_state(f"s{thread}", str(number), NOW)
            store.load_all()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert [session.generation for session in from_rows(store.load_all()).sessions] == [19] * 8


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.2, 0.4])
def test_a_killed_writer_loses_no_completed_save(path: Path, delay_s: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        first = writer.stdout.readline()
        assert first
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
        saved = [line.split() for line in (first + writer.stdout.read()).splitlines(keepends=True)[:-1]]
    newest = {name: int(number) for name, number in saved}
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        found = {session.session_id: session.generation for session in from_rows(store.load_all()).sessions}
        for name, number in newest.items():
            assert found[name] >= number
            state = store.load_state(name)
            assert state
            assert int(state.state.lstrip("x")) >= number
        store.save(to_row(STORED))


@pytest.mark.parametrize("mask", [0o022, 0o000, 0o077])
def test_the_files_are_private_from_the_first_byte(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with closing(SessionDatabase(path)) as store:
            store.open()
            store.save(to_row(STORED))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}


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
        store.save(to_row(STORED))


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
        loaded = from_rows(store.load_all())
        for session in loaded.sessions:
            store.load_state(session.session_id)
        store.save(to_row(STORED))
        assert STORED in from_rows(store.load_all()).sessions


@pytest.mark.parametrize("document", ["{}", "nonsense", None, 7, b"\xff\xfe", "[]"])
def test_an_unreadable_row_does_not_affect_the_others(path: Path, document: object) -> None:
    made(path, sessions=3)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE sessions SET document = ? WHERE session_id = 'session_1'", (document,))
        other.commit()
    with closing(SessionDatabase(path)) as store:
        assert store.open() is None
        loaded = from_rows(store.load_all())
        assert [session.session_id for session in loaded.sessions] == ["session_0", "session_2"]
        assert loaded.unreadable == ("session_1",)
        store.delete("session_1")
        assert from_rows(store.load_all()).unreadable == ()


def test_damage_at_run_time_is_reported_and_does_not_end_the_service(
    path: Path, store: SessionDatabase
) -> None:
    for number in range(50):
        store.save(to_row(replace(STORED, session_id=f"s{number}", key=None)))
    # Changes of another connection are read again from the file.
    with closing(SessionDatabase(path)) as other:
        other.open()
        other.clear()
    path.write_bytes(b"\xff" * path.stat().st_size)
    for use in (store.load_all, store.clear, lambda: store.save(to_row(STORED)), lambda: store.delete("s1")):
        with pytest.raises(BrowserUnavailable, match="check that the disk is not full"):
            use()
    store.close()
    assert "not a database" in is_set_aside(path)


def test_a_full_disk_fails_the_save_and_nothing_else(path: Path, store: SessionDatabase) -> None:
    store.save(to_row(STORED))
    assert store._connection
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    with pytest.raises(BrowserUnavailable, match="disk is full"):
        store.save_state(STORED.session_id, "x" * 100_000, NOW)
    assert from_rows(store.load_all()).sessions == (STORED,)
    assert store.load_state(STORED.session_id) is None
    store.delete(STORED.session_id)
    store._connection.execute("PRAGMA max_page_count = 100000").fetchall()
    store.save(to_row(STORED))
    store.save_state(STORED.session_id, "x" * 100_000, NOW)


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
    monkeypatch.setattr(store_module, "BUSY_S", 0.1)
    content = made(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StartRefused, match="database is locked"):
            SessionDatabase(path).open()
    assert path.read_bytes() == content


READ_ONLY = """
import os, sys
from pathlib import Path
from drover.core.errors import BrowserUnavailable, StartRefused
from drover.sessions.persistence.records import to_row
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
    with pytest.raises(BrowserUnavailable, match="closed"):
        store.save(to_row(STORED))


def test_two_files_set_aside_in_a_row_have_two_names(path: Path) -> None:
    for _ in range(2):
        path.write_bytes(b"nonsense")
        (path.parent / "sessions.db-wal").unlink(missing_ok=True)
        is_set_aside(path)
    assert len(list(path.parent.glob("*.set-aside-*"))) == 2


def test_the_boot_id_is_constant_while_the_machine_runs() -> None:
    assert boot_id() == boot_id()
    assert boot_id()


def test_the_boot_minute_replaces_a_boot_id_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(boot, "_KERNEL_BOOT_ID", folder / "nothing")
    assert int(boot_id()) % 60 == 0
