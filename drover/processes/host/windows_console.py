"""The console window of Windows: who closes it, logs off or shuts down leaves its programs five seconds.

Then Windows ends them, whatever they do; and as soon as the handler returns. Python's own handler of signals
returns at once, so none of these events can be answered through `signal`. Sources: Microsoft's pages on
`SetConsoleCtrlHandler` and `HandlerRoutine`; not tried on Windows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

_CLOSE, _LOGOFF, _SHUTDOWN = 2, 5, 6
_LAST_EVENTS: Final = frozenset({_CLOSE, _LOGOFF, _SHUTDOWN})


def farewell(end: Callable[[], object]) -> Callable[[int], bool]:
    """Give a handler of console events that calls `end` upon those after which Windows ends the program.

    Args:
        end: Does what must be done within four seconds. Windows calls it on a thread of its own.

    Returns:
        What `SetConsoleCtrlHandler` expects: whether the event was handled; Ctrl-C and Ctrl-Break are not.
    """

    def handle(event: int) -> bool:
        if event not in _LAST_EVENTS:
            return False
        end()
        return True

    return handle


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _Handler: Any = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
    _kept: list[Any] = []

    def end_with_console(end: Callable[[], object]) -> None:
        """Call `end` when the console is closed, the user logs off or the machine shuts down."""
        # Windows keeps no reference to the handler.
        _kept.append(_Handler(farewell(end)))
        ctypes.windll.kernel32.SetConsoleCtrlHandler(_kept[-1], True)

else:

    def end_with_console(end: Callable[[], object]) -> None:
        """Do nothing: elsewhere the end of a terminal is a signal, SIGHUP, and leaves all the time needed."""
