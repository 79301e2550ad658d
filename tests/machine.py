"""Machine access for tests: short folders, free ports, processes found by path, and bounded waits."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import itertools
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil
import pytest

T = TypeVar("T")
U = TypeVar("U")

IS_WINE: Final = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
PATIENCE: Final = 6 if IS_WINE else 1
"""Under Wine every program starts several times more slowly than elsewhere."""
POLL_S: Final = 0.05
# Below the range that the kernel uses for `--port=0`, so that no ChromeDriver takes the port in between.
PORTS: Final = range(20_000, 32_000)
# Each pytest-xdist worker has its own share, so that two workers never choose the same port at the same time.
SHARES: Final = 12

_numbers: Final = itertools.count(1)
_ports: Final[set[int]] = set()


@functools.cache
def run_folder() -> Path:
    """Return the folder of this run. Everything that the tests start has a path in it on its command line."""
    parent = None if sys.platform == "win32" else "/tmp"  # noqa: S108 - sockets need a short path
    folder = Path(tempfile.mkdtemp(prefix="drv-", dir=parent)).resolve()
    atexit.register(_remove_if_empty, folder)
    return folder


class ThreadLimit:
    """Lets a number of threads start, and refuses the others as Python does at the system's limit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        start_thread = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if self.left == 0:
                raise RuntimeError("can't start new thread")
            self.left -= 1
            start_thread(thread)

        monkeypatch.setattr(threading.Thread, "start", start)


def short_folder() -> Path:
    """Create a folder whose path is short enough for Chrome's sockets."""
    folder = run_folder() / str(next(_numbers))
    folder.mkdir()
    return folder


def free_port() -> int:
    """Return a TCP port that is free on both loopback addresses; `leftovers` checks it at the end."""
    for port in random.sample(own_ports(os.environ.get("PYTEST_XDIST_WORKER")), 200):
        if port not in _ports and not is_listening(port) and _can_bind(port):
            _ports.add(port)
            return port
    message = "no free port among 200"
    raise AssertionError(message)


def own_ports(worker: str | None) -> range:
    """Return the ports that a pytest-xdist worker may use; workers are named `gw0`, `gw1` and so on."""
    return PORTS if worker is None else PORTS[int(worker.removeprefix("gw")) % SHARES :: SHARES]


def is_listening(port: int) -> bool:
    """Return whether something accepts connections at `port` on loopback."""
    for host in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            continue
        return True
    return False


def has_ipv6_loopback() -> bool:
    """Return whether this machine has ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], T], what: str, timeout: float = 10.0 * PATIENCE) -> T:
    """Wait until `condition` returns a true value, and return that value.

    Raises:
        AssertionError: The condition was not met within `timeout` seconds; the message contains `what`.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"not within {timeout:g} s: {what}"
            raise AssertionError(message)
        time.sleep(POLL_S)


def run_concurrently(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same moment, each in its own thread, and return their results in order."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def run_both(one: Callable[[], T], other: Callable[[], U]) -> tuple[T, U]:
    """Make two calls at the same moment and return both results."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(other)
        return one(), future.result()


def is_living(pid: int) -> bool:
    """Return whether a process runs or is stopped; a zombie counts as gone."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def living(pids: Iterable[int]) -> set[int]:
    """Return those of `pids` that are alive."""
    return {pid for pid in pids if is_living(pid)}


def connect_and_reset(address: tuple[str, int]) -> None:
    """Connect, and hang up with a reset before the server can have accepted the connection."""
    with socket.create_connection(address) as client:
        client.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        )


def wait_gone(pids: Iterable[int], timeout: float = 10.0 * PATIENCE) -> None:
    """Wait until none of `pids` is alive."""
    wanted = set(pids)
    wait_until(lambda: not living(wanted), f"end of the processes {sorted(wanted)}", timeout)


def marked(mark: Path) -> list[psutil.Process]:
    """Return the living processes that name a path below `mark` on their command line."""
    needle = f"{mark}{os.sep}"
    return [
        process
        for process in psutil.process_iter()
        if needle in command_line(process) and is_living(process.pid)
    ]


def command_line(process: psutil.Process) -> str:
    """Return a command line as one string; empty if it cannot be read."""
    try:
        return " ".join(process.cmdline())
    except (psutil.Error, OSError):  # psutil passes on WinError 87 of a process that is just ending
        return ""


def family(pid: int) -> set[int]:
    """Return the pids of a process and all its living descendants."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return set()
    return living({pid, *(child.pid for child in children)})


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes of the tests and wait until they are gone; psutil refuses if a pid was reused."""
    targets = list(processes)
    for process in targets:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    wait_gone({process.pid for process in targets})


def kill_pids(*pids: int) -> None:
    """Kill processes of the tests by pid and wait until they are gone."""
    kill(psutil.Process(pid) for pid in pids)


def remove(folder: Path) -> None:
    """Remove a folder of the tests; retry while a process that is ending still writes into it."""
    wait_until(lambda: _removed(folder), f"removal of {folder}")


def leftovers() -> list[str]:
    """Describe every process, folder and listening port that the tests left behind."""
    return [
        *(f"process {process.pid}: {command_line(process)[:200]}" for process in _own_processes()),
        *(f"folder {path}" for path in sorted(run_folder().iterdir())),
        *(f"listening port {port}" for port in sorted(_ports) if is_listening(port)),
    ]


def end_leftovers() -> None:
    """End the processes that the tests left, so that a failed run does not affect the next one."""
    kill(_own_processes())


def own_group() -> dict[str, Any]:
    """Return the arguments of `Popen` for a program in a terminal of its own."""
    if sys.platform != "win32":
        return {"start_new_session": True}
    hidden = subprocess.STARTUPINFO(dwFlags=subprocess.STARTF_USESHOWWINDOW)  # SW_HIDE is the default
    return {"creationflags": subprocess.CREATE_NEW_CONSOLE, "startupinfo": hidden}


def press_ctrl_c(pid: int) -> None:
    """Send what Ctrl-C in its terminal sends to a program that was started with `own_group`."""
    if sys.platform == "win32":
        _in_console_of(pid, _RAISE.format(event=0))
    else:
        os.killpg(pid, signal.SIGINT)


def press_ctrl_break(pid: int) -> None:
    """Send what Ctrl-Break in its console sends to a program of Windows."""
    _in_console_of(pid, _RAISE.format(event=1))


def close_console(pid: int) -> None:
    """Close the console window of a program of Windows, as a person does."""
    _in_console_of(pid, _CLOSE)


def _in_console_of(pid: int, script: str) -> None:
    """Run a script in the console of a program: only there may it raise an event, and it gets it as well."""
    done = subprocess.run(
        [sys.executable, "-c", _ATTACH + script, str(pid)], stdin=subprocess.DEVNULL, check=False, timeout=60
    )
    assert done.returncode in {0, _ENDED_BY_EVENT}, done


_ENDED_BY_EVENT: Final = 0xC000013A
_ATTACH: Final = """
import ctypes, sys
kernel32, user32 = ctypes.windll.kernel32, ctypes.windll.user32
kernel32.FreeConsole()
assert kernel32.AttachConsole(int(sys.argv[1])), "the program has no console"
assert kernel32.SetConsoleCtrlHandler(None, True)
"""
_RAISE: Final = "assert kernel32.GenerateConsoleCtrlEvent({event}, 0)"
_CLOSE: Final = "assert user32.PostMessageW(kernel32.GetConsoleWindow(), 0x10, 0, 0)  # WM_CLOSE"


def _own_processes() -> list[psutil.Process]:
    found = [*psutil.Process().children(recursive=True), *marked(run_folder())]
    by_pid = {
        process.pid: process for process in found if is_living(process.pid) and not _is_desktop(process)
    }
    return [by_pid[pid] for pid in sorted(by_pid)]


def _is_desktop(process: psutil.Process) -> bool:
    """Return whether it is the desktop of Windows, which Wine starts as a child of the first program."""
    try:
        return os.name == "nt" and process.name() == "explorer.exe"
    except psutil.NoSuchProcess:
        return False


def _can_bind(port: int) -> bool:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _remove_if_empty(folder: Path) -> None:
    # If the folder is not empty, another check reports its content.
    with contextlib.suppress(OSError):
        folder.rmdir()


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
