"""Notice when the service's own port refuses connections, and listen on it again.

A server can lose its listening socket and live on; a supervisor sees a living process and restarts nothing.
asyncio's proactor loop, for one, closes it upon any error of a client's connection (CPython gh-93821).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from drover.core.events import Emit, PortListensAgain, PortLost, PortRefuses
from drover.core.threads import start_thread
from drover.net.loopback import connect

TICK_S = 2.0
CONNECT_S = 3.0
MAX_FAILURES = 3
_REFUSED = {errno.ECONNREFUSED, getattr(errno, "WSAECONNREFUSED", errno.ECONNREFUSED)}
_SAME_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to connect, not where to listen

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PortState:
    """How often in a row an address refused a connection, and listening on it again failed."""

    refusals: int = 0
    failures: int = 0

    def seen(self, *, refused: bool) -> PortState:
        """Return the state after one more connection was tried."""
        return PortState(self.refusals + 1, self.failures) if refused else PortState()

    def failed(self) -> PortState:
        """Return the state after listening again failed."""
        return PortState(self.refusals, self.failures + 1)

    @property
    def is_lost(self) -> bool:
        """Whether listening again has failed too often."""
        return self.failures >= MAX_FAILURES

    @property
    def is_refused(self) -> bool:
        """Whether to listen on it again; on Windows a full backlog causes a single refusal as well."""
        return self.refusals > 1


class PortWatch:
    """Connects to each address of the service every two seconds, from a thread of its own.

    `trouble` is the reason for `/health` while an address refuses connections, else None.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._stop = threading.Event()
        self._states: dict[Address, PortState] = {}
        self.trouble: str | None = None

    def start(
        self,
        addresses: Sequence[Address],
        listen_again: Callable[[int], None],
        give_up: Callable[[], None],
    ) -> None:
        """Watch the addresses until `stop`.

        Args:
            addresses: The host and port of every listening socket.
            listen_again: Listens anew in place of the socket with this index, or raises OSError.
            give_up: Ends the service; called once, when listening again has failed three times.

        Raises:
            Overloaded: No thread can be started.
        """
        start_thread(partial(self._loop, addresses, listen_again, give_up), "port-watch")

    def stop(self) -> None:
        """Watch no more; a connection that is being tried is not waited for."""
        self._stop.set()

    def _loop(
        self, addresses: Sequence[Address], listen_again: Callable[[int], None], give_up: Callable[[], None]
    ) -> None:
        while not self._stop.wait(TICK_S):
            for index, address in enumerate(addresses):
                refused = refuses(address)
                if self._stop.is_set():
                    return
                if self._seen(address, refused=refused).is_refused:
                    self._listen(address, partial(listen_again, index))
                if self._states[address].is_lost:
                    give_up()
                    return

    def _seen(self, address: Address, *, refused: bool) -> PortState:
        state = self._states[address] = self._states.get(address, PortState()).seen(refused=refused)
        if state.refusals == 1:
            self._emit(PortRefuses(*address))
        refusing = [_text(one) for one, seen in self._states.items() if seen.refusals]
        self.trouble = f"{' and '.join(refusing)} refuses connections" if refusing else None
        return state

    def _listen(self, address: Address, listen_again: Callable[[], None]) -> None:
        try:
            listen_again()
        except OSError as error:
            state = self._states[address] = self._states[address].failed()
            if state.is_lost:
                self._emit(PortLost(*address, str(error)))
            return
        self._states[address] = PortState()
        self._emit(PortListensAgain(*address))


def refuses(address: Address) -> bool:
    """Return whether a connection is refused; silence and other errors prove nothing."""
    host, port = address
    try:
        connect(_SAME_MACHINE.get(host, host), port, CONNECT_S).close()
    except OSError as error:
        return error.errno in _REFUSED
    return False


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
