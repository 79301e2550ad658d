"""A PostgreSQL server of a test's own: its own folder, its own port, and as another user than root."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg

from tests.machine import PATIENCE, free_port, remove, short_folder, wait_until

USER: Final = "postgres"
START_S: Final = 30.0 * PATIENCE
MISSING: Final = "needs PostgreSQL's initdb and postgres, such as Debian's package postgresql"


def _program(name: str) -> Path | None:
    """Return the path of one of PostgreSQL's programs; Debian does not put them on the PATH."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), default=None)


def is_installed() -> bool:
    """Return whether a server can be started here."""
    return sys.platform == "linux" and _program("initdb") is not None and _program("postgres") is not None


class Postgres:
    """A server on a free port of the loopback address.

    Args:
        folder: An empty folder for its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        # The server refuses to run as root.
        self._user = USER if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if self._user is not None:
            for parent in (folder.parent, folder.parent.parent):
                if parent != Path("/tmp"):  # noqa: S108 - the folder of all programs
                    parent.chmod(parent.stat().st_mode | 0o011)
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "drover", "--no-sync")

    @property
    def url(self) -> str:
        """The address of a database on it."""
        return f"postgresql://drover@127.0.0.1:{self.port}/postgres"

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        self._process = subprocess.Popen(
            [str(_program("postgres")), "-D", str(self._data), "-p", str(self.port), *options],
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, "PostgreSQL answers", START_S)

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

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        for pid in children.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(_program(name)), *arguments]
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, capture_output=True)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server, and leave nothing of it."""
    folder = short_folder()
    server = Postgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        remove(folder)
