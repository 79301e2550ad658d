"""A PostgreSQL server of a test's own: its own folder, its own port, and as another user than root."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psycopg

from tests.machine import PATIENCE, free_port, remove, short_folder, wait_until

USER: Final = "postgres"
LOOPBACK: Final = "127.0.0.1"
START_S: Final = 30.0 * PATIENCE
MISSING: Final = "needs PostgreSQL's initdb and postgres, such as Debian's package postgresql"


def _program(name: str) -> Path | None:
    """Return the path of one of PostgreSQL's programs; Debian does not put them on the PATH of all users."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is not None:
        return Path(found)
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), default=None)


def has_pgbouncer() -> bool:
    """Return whether a PgBouncer can be started here."""
    return is_installed() and _program("pgbouncer") is not None


def is_installed() -> bool:
    """Return whether a server can be started here."""
    return sys.platform == "linux" and _program("initdb") is not None and _program("postgres") is not None


class Postgres:
    """A server on a free port of the loopback address, and of one more address if it is given.

    Args:
        folder: An empty folder for its data.
        address: The address at which its clients reach it.
        settings: Settings of the server, such as `fsync=on`.
    """

    def __init__(self, folder: Path, address: str = LOOPBACK, settings: Sequence[str] = ()) -> None:
        self._folder = folder
        self._settings = settings
        self._data = folder / "data"
        self.address = address
        # The server refuses to run as root.
        self._user = USER if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if self._user is not None:
            let_in(folder, self._user)

    @property
    def pid(self) -> int:
        """The pid of its first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The address of a database on it."""
        return f"postgresql://drover@{self.address}:{self.port}/postgres"

    def create(self) -> None:
        """Create its data."""
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "drover", "--no-sync")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host {name} all 10.0.0.0/8 trust\n" for name in ("all", "replication"))

    def copy(self, primary: Postgres) -> None:
        """Become a standby of another server, as soon as this one is started."""
        options = ["-h", primary.address, "-p", str(primary.port), "-U", "drover", "-c", "fast", "--no-sync"]
        self._run("pg_basebackup", "-D", str(self._data), "--write-recovery-conf", *options)

    def fail_over_to(self, standby: Postgres) -> None:
        """Stop both, and start again at this address with the data of the standby."""
        self.stop()
        standby.stop()
        (standby._data / "standby.signal").unlink()
        self._data, standby._data = standby._data, self._data
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether it runs; it ends by itself when it cannot write its log."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = (f"listen_addresses={self.address}", "unix_socket_directories=", "fsync=off")
        options = [part for setting in (*settings, *self._settings) for part in ("-c", setting)]
        self._process = subprocess.Popen(
            [str(_program("postgres")), "-D", str(self._data), "-p", str(self.port), *options],
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(lambda: _is_answered(self.url), "PostgreSQL answers", START_S)

    def stop(self) -> None:
        """Stop it at once; its clients lose their connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_S)
            self._process = None

    def pause(self) -> None:
        """Stop all its processes in the middle of what they do, as a hung machine does."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let all its processes go on."""
        self._signal_all(signal.SIGCONT)

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        for pid in children.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(_program(name)), *arguments]
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, capture_output=True)


@contextlib.contextmanager
def postgres(address: str = LOOPBACK, settings: Sequence[str] = ()) -> Iterator[Postgres]:
    """Run a server, and leave nothing of it."""
    folder = short_folder()
    server = Postgres(folder, address, settings)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        remove(folder)


@contextlib.contextmanager
def standby(primary: Postgres) -> Iterator[Postgres]:
    """Run a standby of a server, which it follows until `disconnect`, and leave nothing of it."""
    folder = short_folder()
    server = Postgres(folder, primary.address)
    try:
        server.copy(primary)
        server.start()
        followed = "SELECT status FROM pg_stat_wal_receiver"
        wait_until(lambda: server.execute(followed) == [("streaming",)], "the standby follows", START_S)
        yield server
    finally:
        server.stop()
        remove(folder)


def disconnect(standby: Postgres) -> None:
    """Have a standby receive nothing more."""
    standby.execute("ALTER SYSTEM SET primary_conninfo TO ''")
    standby.execute("SELECT pg_reload_conf()")
    followed = "SELECT count(*) FROM pg_stat_wal_receiver"
    wait_until(lambda: standby.execute(followed) == [(0,)], "the standby does not follow", START_S)


def let_in(folder: Path, user: str) -> None:
    """Change the owner of a folder to a user who may enter those that it is in."""
    for parent in (folder.parent, folder.parent.parent):
        if parent != Path("/tmp"):  # noqa: S108 - the folder of all programs
            parent.chmod(parent.stat().st_mode | 0o011)
    shutil.chown(folder, user)


@contextlib.contextmanager
def pgbouncer(server: Postgres) -> Iterator[str]:
    """Run a PgBouncer in transaction mode before a server; yield its address, and leave nothing of it."""
    folder, port = short_folder(), free_port()
    user = USER if os.geteuid() == 0 else None
    if user is not None:
        let_in(folder, user)
    (folder / "ini").write_text(
        f"""[databases]
postgres = host={server.address} port={server.port} user=drover
[pgbouncer]
listen_addr = {server.address}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
"""
    )
    process = subprocess.Popen(
        [str(_program("pgbouncer")), "-q", str(folder / "ini")],
        user=user,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://drover@{server.address}:{port}/postgres"
    try:
        wait_until(lambda: _is_answered(url), "PgBouncer answers", START_S)
        yield url
    finally:
        process.terminate()
        process.wait(START_S)
        remove(folder)


def _is_answered(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False
