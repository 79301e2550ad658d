"""Stop signals: a handler only notes the signal, and threads that exist beforehand do the rest.

A handler that took a lock could wait for the very thread that it interrupts, and no thread may be left to be
started when a stop is asked for.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from drover.core.threads import start_thread

_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_ALWAYS = "SIGTERM"


def unblock_stop_signals() -> None:
    """Receive stop signals even if the program that started us blocks them; call it before threads start.

    Some supervisors fork in a thread that blocks signals, and the mask is inherited.
    """
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(_stop_signals().values()))


def _stop_signals() -> dict[str, signal.Signals]:
    return {name: getattr(signal, name) for name in _STOP_SIGNALS if hasattr(signal, name)}


class StopSignals:
    """Stops the service in order at the first signal, and at once at the second.

    If SIGTERM begins a drain, the stop in order comes when that is over, or at the next signal.

    Args:
        stop: Stops the service in order; called in a thread of its own with the signal's name.
        kill: Ends all processes of the service at once; the program ends then.
        drain: Begins a drain at SIGTERM, without waiting for it; returns whether there is a drain now.

    Raises:
        Overloaded: No thread can be started.
    """

    def __init__(
        self, stop: Callable[[str], None], kill: Callable[[], None], drain: Callable[[], bool]
    ) -> None:
        self._stop = stop
        self._kill = kill
        self._drain = drain
        # put() may be called by a signal handler that interrupts put() itself.
        self._received: queue.SimpleQueue[int | str] = queue.SimpleQueue()
        self._first = threading.Event()
        self._name = ""
        start_thread(self._wait_for_signals, "signals")
        start_thread(self._stop_in_order, "stop")

    @property
    def stopping(self) -> bool:
        """Whether a stop signal has come."""
        return self._first.is_set()

    def install(self) -> None:
        """Handle the stop signals from now on; call it in the main thread.

        A signal that is ignored stays so (`nohup`, background jobs of a shell), but SIGTERM always stops the
        service.
        """
        for name, number in _stop_signals().items():
            if name == _ALWAYS or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def stop_for(self, reason: str) -> None:
        """Stop in order for a reason of the service's own; a stop that has begun goes on."""
        self._received.put(reason)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received.put(number)

    def _wait_for_signals(self) -> None:
        first = self._received.get()
        if first == signal.SIGTERM and self._drain():
            first = self._received.get()
        self._name = first if isinstance(first, str) else signal.Signals(first).name
        self._first.set()
        if isinstance(first, str):
            # The stop has begun without a signal: the first one asks for no more than that.
            self._next_signal()
        number = self._next_signal()
        self._kill()
        os._exit(128 + number)

    def _next_signal(self) -> int:
        while isinstance(received := self._received.get(), str):
            pass
        return received

    def _stop_in_order(self) -> None:
        self._first.wait()
        self._stop(self._name)
