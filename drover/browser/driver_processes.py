"""ChromeDriver processes: the only module that starts and reaps them.

Each has its session's folder on its command line (`--log-path=`), and passes its environment on to
Chrome, so that temporary files and crash dumps stay in that folder as well (`BREAKPAD_DUMP_LOCATION`).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from drover.browser import start_diagnostics
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, CleanupIncomplete, SessionLost
from drover.processes import children
from drover.processes.command_line import switch_values
from drover.processes.defunct import reap_orphans
from drover.processes.table import Liveness, ProcessIdentity, ProcessTable, identify, liveness, snapshot
from drover.processes.termination import end, tree_of
from drover.storage.session_folders import SessionFolder

DRIVER_START_S = 10.0
DRIVER_STARTS = 3
DRIVER_GRACE_S = 1.0
END_ATTEMPTS = 3
SECRET_BYTES = 18
"""Random bytes of the path below which ChromeDriver answers over HTTP."""
# ChromeDriver picks a free IPv6 port and exits if that port is taken in IPv4; the next attempt picks another.
# It prints this text to its output; the system's error is only in its log.
_PORT_TAKEN = "port not available"
_PORT = re.compile(r"started successfully on port (\d+)")

if sys.platform == "win32":
    _OWN_PROCESS_GROUP: dict[str, Any] = {
        "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    }
else:
    # A Ctrl-C in the terminal goes to the foreground process group, and must not end ChromeDriver first.
    _OWN_PROCESS_GROUP: dict[str, Any] = {"start_new_session": True}


StillWanted = Callable[[], bool]
"""Returns whether the session still wants what is being started for it."""


class DriverProcesses:
    """The ChromeDriver processes that this service has started; thread-safe."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(
        self,
        executable: Path,
        folder: SessionFolder,
        deadline: Deadline,
        wanted: StillWanted,
        spared: ProcessIdentity | None = None,
    ) -> tuple[ProcessIdentity, str]:
        """Start a ChromeDriver for a session's folder; return its identity and its address.

        Args:
            executable: ChromeDriver, or a wrapper script that starts it and stays.
            spared: The session's browser, if one is running.

        Raises:
            BrowserUnavailable: It did not start; the message has its last log lines. Nothing of it is left.
            SessionLost: The session is no longer wanted.
        """
        what = ""
        for _ in range(DRIVER_STARTS):
            if not wanted():
                raise SessionLost("The session was closed while its browser was being started; retry")
            base = f"/{secrets.token_urlsafe(SECRET_BYTES)}"
            process = self._spawn(executable, folder, base)
            identity = identify(process.pid)
            port = _await_port(process, folder.driver_output, deadline.within(DRIVER_START_S))
            if identity is not None and port is not None:
                return identity, f"http://127.0.0.1:{port}{base}"
            exit_code = process.poll()
            what = _not_started(exit_code)
            self.end(folder, identity, spared)
            self.reap(process.pid)
            was_killed = exit_code is not None and exit_code < 0
            if not was_killed and _PORT_TAKEN not in _text(folder.driver_output):
                break
        raise BrowserUnavailable(start_diagnostics.explain_failure(what, folder))

    def end(
        self, folder: SessionFolder, driver: ProcessIdentity | None, spared: ProcessIdentity | None
    ) -> None:
        """End every ChromeDriver of a session with all that it has started, except the session's browser.

        If a wrapper script starts ChromeDriver and stays, both end, whichever of them has died already.

        Args:
            folder: The session's folder, which every ChromeDriver of it has on its command line.
            driver: The process that was started as its ChromeDriver.
            spared: The session's browser, which keeps running with all its helpers.

        Raises:
            CleanupIncomplete: A process survived; the message names it.
        """
        left = end_repeatedly(lambda: _to_end(folder, driver, spared), DRIVER_GRACE_S)
        if driver is not None:
            self.reap(driver.pid)
        if left:
            pids = ", ".join(str(identity.pid) for identity in left)
            raise CleanupIncomplete(f"ChromeDriver could not be ended: PID {pids}; end it manually")

    def reap(self, pid: int) -> None:
        """Reap one ChromeDriver, if it has exited."""
        with self._lock:
            process = self._children.get(pid)
            if process is not None and process.poll() is not None:
                del self._children[pid]

    def reap_all(self) -> None:
        """Reap every ChromeDriver that has exited, and what was re-parented to this program."""
        with self._lock:
            pids = tuple(self._children)
        for pid in pids:
            self.reap(pid)
        reap_orphans()

    def _spawn(self, executable: Path, folder: SessionFolder, base: str) -> subprocess.Popen[bytes]:
        command = [
            str(executable),
            f"--port={_port_to_ask_for()}",
            # Without it any page on this machine could end ChromeDriver and its browser with a plain GET of
            # /shutdown; finding the port took a page 13 s.
            f"--url-base={base}",
            f"--log-path={folder.driver_log}",
            "--append-log",
            # At a more verbose level ChromeDriver logs typed text, passwords included.
            "--log-level=WARNING",
        ]
        with _written(folder.driver_output) as output:
            try:
                process = children.start(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folder.path,
                    env=_environment(os.environ, folder),
                    **_OWN_PROCESS_GROUP,
                )
            except OSError as error:
                raise BrowserUnavailable(_not_run(command[0], error)) from error
        with self._lock:
            self._children[process.pid] = process
        return process


def end_repeatedly(find: Callable[[], list[ProcessIdentity]], grace: float) -> list[ProcessIdentity]:
    """End the processes that `find` returns until there are none; return what has survived three attempts."""
    for _ in range(END_ATTEMPTS):
        left = find()
        if not left:
            return []
        end(left, grace=grace)
    return find()


def drivers_of(folder: SessionFolder, table: ProcessTable) -> tuple[ProcessIdentity, ...]:
    """Return the ChromeDrivers of a session, and scripts that start one, by the log on their command line."""
    session = folder.marked_session()
    marked = (row for row in table.rows.values() if row.mark is not None and row.mark.session == session)
    return tuple(row.identity for row in marked if row.started is not None and _is_driver(row.cmdline))


def _is_driver(cmdline: Sequence[str] | None) -> bool:
    return bool(switch_values(cmdline, "log-path")) and not switch_values(cmdline, "user-data-dir")


def _to_end(
    folder: SessionFolder, driver: ProcessIdentity | None, spared: ProcessIdentity | None
) -> list[ProcessIdentity]:
    roots = drivers_of(folder, snapshot()) + ((driver,) if driver is not None else ())
    found = dict.fromkeys(one for root in roots for one in tree_of(root))
    kept = frozenset(tree_of(spared)) | {spared} if spared is not None else frozenset()
    return [one for one in found if one not in kept and liveness(one) is not Liveness.GONE]


def _not_run(program: str, error: OSError) -> str:
    if error.errno in {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}:
        advice = "the limit of processes, memory or files is reached; raise it, or close sessions, then retry"
    else:
        advice = "set DROVER_CHROMEDRIVER to one that can, or put it back, then retry"
    return f"ChromeDriver ({program}) cannot be run: {error.strerror or error}; {advice}"


def _not_started(exit_code: int | None) -> str:
    if exit_code is None:
        return f"ChromeDriver did not listen within {DRIVER_START_S:g} s"
    if exit_code < 0:
        return f"ChromeDriver was ended by signal {-exit_code} during its start"
    return f"ChromeDriver exited with code {exit_code} during its start"


def _environment(environ: Mapping[str, str], folder: SessionFolder) -> dict[str, str]:
    ours = {name: value for name, value in environ.items() if not name.upper().startswith("DROVER_")}
    temp = dict.fromkeys(("TMPDIR", "MAC_CHROMIUM_TMPDIR", "TMP", "TEMP"), str(folder.temp))
    return ours | temp | {"BREAKPAD_DUMP_LOCATION": str(folder.crashes)}


def _port_to_ask_for() -> int:
    """Return 0, which lets ChromeDriver choose; without IPv6 it would not print the port, so choose one."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])
    return 0


def _written(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise BrowserUnavailable(
            f"{path} cannot be written ({error.strerror}): free some disk space, then retry"
        ) from error


def _await_port(process: subprocess.Popen[bytes], output: Path, deadline: Deadline) -> int | None:
    """Return the port that ChromeDriver prints about 10 ms after its start; None if it does not."""
    pause = 0.001
    while deadline.remaining() > 0:
        found = _PORT.search(_text(output))
        if found:
            return int(found[1])
        if process.poll() is not None:
            return None
        time.sleep(pause)
        pause = min(pause * 1.2, 0.05)
    return None


def _text(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace")
