"""ChromeDriver's processes: the only place that starts one, and that takes them off the process table.

Each carries its session's folder on its command line (`--log-path=`), and hands its environment on to
Chrome, so that temporary files and crash dumps stay in that folder as well (`BREAKPAD_DUMP_LOCATION`).
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from drover.browser import start_diagnostics
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionLost
from drover.processes.defunct import reap_defunct_chrome
from drover.processes.table import ProcessIdentity, identify
from drover.storage.session_folders import SessionFolder

DRIVER_START_S = 10.0
DRIVER_STARTS = 3
# ChromeDriver picks a free port of IPv6 and ends where that one is taken in IPv4; the next try picks another.
# This it says on its output; what the system has said of it, only in its log.
_PORT_TAKEN = "port not available"
_PORT = re.compile(r"started successfully on port (\d+)")

if sys.platform == "win32":
    _OWN_PROCESS_GROUP: dict[str, Any] = {
        "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    }
else:
    # A Ctrl-C in the terminal goes to the foreground process group, and must not hit ChromeDriver first.
    _OWN_PROCESS_GROUP: dict[str, Any] = {"start_new_session": True}


StillWanted = Callable[[], bool]
"""Tells whether the session still wants what is being started for it."""


class DriverProcesses:
    """The ChromeDrivers that are our children; safe to use from many threads."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(
        self, executable: Path, folder: SessionFolder, deadline: Deadline, wanted: StillWanted
    ) -> tuple[ProcessIdentity, str]:
        """Start a ChromeDriver for a session's folder; gives its identity and its address.

        Raises:
            BrowserUnavailable: It did not start; with its last words.
            SessionLost: The session is not wanted any more.
        """
        for _ in range(DRIVER_STARTS):
            if not wanted():
                raise SessionLost("The session was closed while its browser was being started; ask again")
            process = self._spawn(executable, folder)
            identity = identify(process.pid)
            port = _await_port(process, folder.driver_output, deadline.within(DRIVER_START_S))
            if identity is not None and port is not None:
                return identity, f"http://127.0.0.1:{port}"
            process.kill()
            process.wait(DRIVER_START_S)
            self.reap(process.pid)
            if _PORT_TAKEN not in folder.driver_output.read_text(encoding="utf-8", errors="replace"):
                break
        raise BrowserUnavailable(start_diagnostics.explain_failure("ChromeDriver did not start", folder))

    def reap(self, pid: int) -> None:
        """Take one off the process table, if it has ended."""
        with self._lock:
            process = self._children.get(pid)
            if process is not None and process.poll() is not None:
                del self._children[pid]

    def reap_all(self) -> None:
        """Take off the process table whatever has ended: our ChromeDrivers, and Chrome that was given to us.

        In a container without an init the service is the first process, and the kernel gives it every
        helper of Chrome that outlives its parent.
        """
        with self._lock:
            pids = tuple(self._children)
        for pid in pids:
            self.reap(pid)
        with self._lock:
            reap_defunct_chrome(spared=self._children.keys())

    def _spawn(self, executable: Path, folder: SessionFolder) -> subprocess.Popen[bytes]:
        command = [
            str(executable),
            f"--port={_port_to_ask_for()}",
            f"--log-path={folder.driver_log}",
            "--append-log",
            # At a finer level ChromeDriver logs what is typed, passwords included.
            "--log-level=WARNING",
        ]
        with _written(folder.driver_output) as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own executable and switches
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folder.path,
                    env=_environment(os.environ, folder),
                    **_OWN_PROCESS_GROUP,
                )
            except OSError as error:
                raise BrowserUnavailable(
                    f"ChromeDriver ({command[0]}) cannot be run: {error}; set DROVER_CHROMEDRIVER"
                ) from error
        with self._lock:
            self._children[process.pid] = process
        return process


def _environment(environ: Mapping[str, str], folder: SessionFolder) -> dict[str, str]:
    ours = {name: value for name, value in environ.items() if not name.upper().startswith("DROVER_")}
    temp = dict.fromkeys(("TMPDIR", "MAC_CHROMIUM_TMPDIR", "TMP", "TEMP"), str(folder.temp))
    return ours | temp | {"BREAKPAD_DUMP_LOCATION": str(folder.crashes)}


def _port_to_ask_for() -> int:
    """Give 0, upon which ChromeDriver chooses a port itself; without IPv6 it would not tell which."""
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
            f"{path} cannot be written ({error.strerror}): free some disk space, then ask again"
        ) from error


def _await_port(process: subprocess.Popen[bytes], output: Path, deadline: Deadline) -> int | None:
    """Give the port once ChromeDriver has told it, some 10 ms after its start; None where it does not."""
    pause = 0.001
    while deadline.remaining() > 0:
        found = _PORT.search(output.read_text(encoding="utf-8", errors="replace"))
        if found:
            return int(found[1])
        if process.poll() is not None:
            return None
        time.sleep(pause)
        pause = min(pause * 1.2, 0.05)
    return None
