"""ChromeDriver processes: the only module that starts and reaps them.

Each has its session's folder on its command line (`--log-path=`), and passes its environment on to
Chrome, so that temporary files and crash dumps stay in that folder as well (`BREAKPAD_DUMP_LOCATION`).
"""

from __future__ import annotations

import os
import re
import secrets
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
        self, executable: Path, folder: SessionFolder, deadline: Deadline, wanted: StillWanted
    ) -> tuple[ProcessIdentity, str]:
        """Start a ChromeDriver for a session's folder; return its identity and its address.

        Raises:
            BrowserUnavailable: It did not start; the message has its last log lines.
            SessionLost: The session is no longer wanted.
        """
        for _ in range(DRIVER_STARTS):
            if not wanted():
                raise SessionLost("The session was closed while its browser was being started; retry")
            base = f"/{secrets.token_urlsafe(SECRET_BYTES)}"
            process = self._spawn(executable, folder, base)
            identity = identify(process.pid)
            port = _await_port(process, folder.driver_output, deadline.within(DRIVER_START_S))
            if identity is not None and port is not None:
                return identity, f"http://127.0.0.1:{port}{base}"
            process.kill()
            process.wait(DRIVER_START_S)
            self.reap(process.pid)
            if _PORT_TAKEN not in folder.driver_output.read_text(encoding="utf-8", errors="replace"):
                break
        raise BrowserUnavailable(start_diagnostics.explain_failure("ChromeDriver did not start", folder))

    def reap(self, pid: int) -> None:
        """Reap one ChromeDriver, if it has exited."""
        with self._lock:
            process = self._children.get(pid)
            if process is not None and process.poll() is not None:
                del self._children[pid]

    def reap_all(self) -> None:
        """Reap every ChromeDriver that has exited, and Chrome processes that were reparented to the service.

        In a container without an init the service is process 1, and the kernel reparents to it every
        Chrome helper that outlives its parent.
        """
        with self._lock:
            pids = tuple(self._children)
        for pid in pids:
            self.reap(pid)
        with self._lock:
            reap_defunct_chrome(spared=self._children.keys())

    def _spawn(self, executable: Path, folder: SessionFolder, base: str) -> subprocess.Popen[bytes]:
        command = [
            str(executable),
            f"--port={_port_to_ask_for()}",
            # Without it any page on this machine could end ChromeDriver and its browser with a plain GET of
            # /shutdown; finding the port took a page 13 s (facts.md 11).
            f"--url-base={base}",
            f"--log-path={folder.driver_log}",
            "--append-log",
            # At a more verbose level ChromeDriver logs typed text, passwords included.
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
                    f"ChromeDriver ({command[0]}) cannot be run: {error}; "
                    "set DROVER_CHROMEDRIVER to one that can"
                ) from error
        with self._lock:
            self._children[process.pid] = process
        return process


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
        found = _PORT.search(output.read_text(encoding="utf-8", errors="replace"))
        if found:
            return int(found[1])
        if process.poll() is not None:
            return None
        time.sleep(pause)
        pause = min(pause * 1.2, 0.05)
    return None
