"""Run Drover for the Windows Task Scheduler: without a window, with a log file, and with a stop in order.

    pythonw.exe deploy/windows_task.py [LOG]   run it until it ends; LOG is drover.log in %LOCALAPPDATA%
    python.exe deploy/windows_task.py stop     stop it as Ctrl-C does, and wait until it has ended

`pythonw.exe` has no console, so the program below it gets one without a window: no window can be closed by
mistake, and Ctrl-C can be sent to it. If this program is ended, Drover ends with it and leaves its browsers
to the next start.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drover.processes.host.windows_job import end_child_with_us

ROOT = Path(__file__).resolve().parents[1]
STOP = "stop"
STOP_S = 60.0
TICK_S = 0.5
LOG_BYTES = 10_000_000
"""A log that is larger at a start becomes `LOG.old`."""

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _KERNEL32 = ctypes.WinDLL("kernel32")
    for _function in (_KERNEL32.CreateEventW, _KERNEL32.OpenEventW):
        _function.restype = wintypes.HANDLE
    _EVENT_MODIFY_STATE = 0x2
    # Of this logon session only, and of this copy of Drover.
    _EVENT = f"Local\\Drover-{hashlib.sha256(str(ROOT).lower().encode()).hexdigest()[:16]}"

    def run(log: Path) -> int:
        """Run the service until it ends; return its exit code."""
        stop_wanted = wintypes.HANDLE(_KERNEL32.CreateEventW(None, True, False, _EVENT))
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.old"))
        with log.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603 - our own program
                [str(Path(sys.executable).with_name("python.exe")), str(ROOT / "app.py")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        end_child_with_us(child.pid)
        while child.poll() is None:
            if _KERNEL32.WaitForSingleObject(stop_wanted, int(TICK_S * 1000)) == 0:
                _press_ctrl_c(child.pid)
                child.wait()
        return child.returncode

    def stop() -> int:
        """Ask the program that runs to stop, and wait for it; return 0 if nothing runs any more."""
        deadline = time.monotonic() + STOP_S
        while event := _KERNEL32.OpenEventW(_EVENT_MODIFY_STATE, False, _EVENT):
            _KERNEL32.SetEvent(wintypes.HANDLE(event))
            # The event exists while the program does, and while it is open here.
            _KERNEL32.CloseHandle(wintypes.HANDLE(event))
            if time.monotonic() > deadline:
                return 1
            time.sleep(TICK_S)
        return 0

    def _press_ctrl_c(pid: int) -> None:
        """Raise Ctrl-C in the console of a program; only one that shares the console may do that."""
        _KERNEL32.FreeConsole()
        _KERNEL32.AttachConsole(pid)
        # The event comes here as well.
        _KERNEL32.SetConsoleCtrlHandler(None, True)
        _KERNEL32.GenerateConsoleCtrlEvent(0, 0)

    def main(arguments: list[str]) -> int:
        """Run or stop the service; return the exit code."""
        if arguments == [STOP]:
            return stop()
        return run(Path(arguments[0] if arguments else Path(os.environ["LOCALAPPDATA"]) / "drover.log"))

else:

    def main(arguments: list[str]) -> int:  # noqa: ARG001 - the same signature on every system
        """Return 2: other systems have supervisors of their own."""
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
