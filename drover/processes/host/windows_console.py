"""Console events of Windows: closing the console, logging off and shutting down.

After such an event, Windows ends the program as soon as the handler returns, or after five seconds at the
latest. Python's own signal handler returns at once, so the module `signal` cannot handle these events.
Sources: Microsoft's pages on `SetConsoleCtrlHandler` and `HandlerRoutine`; not tried on Windows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

_CLOSE, _LOGOFF, _SHUTDOWN = 2, 5, 6
_FINAL_EVENTS: Final = frozenset({_CLOSE, _LOGOFF, _SHUTDOWN})


def console_event_handler(end: Callable[[], object]) -> Callable[[int], bool]:
    """Return a console event handler that calls `end` for the events after which Windows ends the program.

    Args:
        end: The final work; it must return within four seconds. Windows calls it on a separate thread.

    Returns:
        A handler for `SetConsoleCtrlHandler`. It returns whether it handled the event; it does not handle
        Ctrl-C and Ctrl-Break.
    """

    def handle(event: int) -> bool:
        if event not in _FINAL_EVENTS:
            return False
        end()
        return True

    return handle


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _Handler: Any = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
    _handlers: list[Any] = []

    def end_with_console(end: Callable[[], object]) -> None:
        """Call `end` when the console is closed, the user logs off or the machine shuts down."""
        # Windows does not keep the handler object alive.
        _handlers.append(_Handler(console_event_handler(end)))
        ctypes.windll.kernel32.SetConsoleCtrlHandler(_handlers[-1], True)

else:

    def end_with_console(end: Callable[[], object]) -> None:
        """Do nothing: on other systems a closed terminal sends SIGHUP, which has no time limit."""
