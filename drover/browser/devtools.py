"""DevTools connections, one to each session's browser, independent of ChromeDriver.

All of them run on the event loop of one thread; callers wait for them with timeouts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from pathlib import Path

from websockets.exceptions import WebSocketException

from drover.browser.attach_gate import AttachGate
from drover.browser.devtools_connection import TIMEOUTS, Connection, DevToolsFailed
from drover.browser.health import Page, pages
from drover.browser.page_targets import NO_SIGNALS, BrowserSignals, PageTarget
from drover.browser.running_browser import RunningBrowser
from drover.core.tasks import end_tasks
from drover.core.threads import ThreadPool, start_thread
from drover.net.loopback import CONNECT_S, open_socket

ASKING = 2
TOLD_POLL_S = 0.005


class DevTools:
    """The DevTools connections, at most one to each browser, opened on first use.

    Args:
        max_downloads_mb: The limit of each browser's downloads in MiB; 0 = none.
    """

    def __init__(self, max_downloads_mb: int = 0) -> None:
        self._max_downloads_mb = max_downloads_mb
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connections: dict[str, Future[Connection]] = {}
        self._opened: dict[str, Connection] = {}
        self._gates: dict[str, AttachGate] = {}
        self._starting: set[Path] = set()
        self._asking = ThreadPool("attach-gate", ASKING)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = start_thread(self._loop.run_forever, "devtools")
        # None may be left to be started when a ChromeDriver attaches.
        self._asking.fill(ASKING)

    def stop(self) -> None:
        """Close all connections and stop the thread; the browsers keep running."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            known = tuple(self._connections.values())
            self._connections.clear()
            self._opened.clear()
        if loop is None or thread is None:
            return
        with suppress(*TIMEOUTS):
            asyncio.run_coroutine_threadsafe(_close_all(known), loop).result(CONNECT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CONNECT_S)
        loop.run_until_complete(_cancel_remaining_tasks())
        self._asking.shutdown(wait=False, cancel_futures=True)
        loop.close()

    def of(self, running: RunningBrowser) -> Connection:
        """Return the connection to a browser; a new one if there is none or it was lost.

        Raises:
            DevToolsFailed: The browser does not accept a connection.
        """
        with self._lock:
            known = self._connections.get(running.browser_guid)
            if known is None or (known.done() and (known.exception() or not known.result().alive)):
                known = self._begin_connecting(running.devtools_address)
        try:
            return known.result(CONNECT_S)
        except (WebSocketException, OSError, CancelledError, *TIMEOUTS) as error:
            raise DevToolsFailed(f"Cannot connect to Chrome DevTools: {error}") from error

    @contextmanager
    def connecting(self, profile: Path) -> Iterator[None]:
        """Connect to the browser that is being started on a profile, as soon as it says where it listens.

        Chrome writes that into its profile long before ChromeDriver has attached to it (measured: 100 ms and
        more). A browser whose start fails in the `with` block is forgotten.
        """
        port_file = profile / "DevToolsActivePort"
        with suppress(OSError):  # If Chrome cannot write there either, its start says so.
            port_file.unlink()
        loop, is_started = self._running_loop(), False
        with self._lock:
            self._starting.add(port_file)
        asyncio.run_coroutine_threadsafe(self._connect_once_told(port_file), loop)
        try:
            yield
            is_started = True
        finally:
            # From now on only `of` connects: two connections to one browser would stay open.
            with self._lock:
                self._starting.discard(port_file)
            if not is_started and (address := told_address(port_file)) is not None:
                self.forget(_guid(address))

    def seen(self, running: RunningBrowser) -> BrowserSignals:
        """Return the signals received from a browser so far, without any I/O."""
        connection = self._opened.get(running.browser_guid)
        return connection.seen if connection is not None else NO_SIGNALS

    def pages(self, running: RunningBrowser, timeout: float) -> tuple[Page, ...]:
        """Return the open pages of a session, the one in front first; empty if Chrome does not answer.

        Those that Drover has opened for itself are none of them.
        """
        listed = pages(running, timeout)
        connection = self._opened.get(running.browser_guid)
        own = connection.own_pages if connection is not None else frozenset[str]()
        return tuple(page for page in listed if page.target_id not in own)

    def cancelled_downloads(self, running: RunningBrowser) -> int:
        """Return how many downloads of a browser were cancelled at the limit, without any I/O."""
        connection = self._opened.get(running.browser_guid)
        return connection.cancelled_downloads if connection is not None else 0

    def page(self, running: RunningBrowser, target_id: str) -> PageTarget | None:
        """Return a page of a browser with its open dialog, as far as it is known without any I/O."""
        connection = self._opened.get(running.browser_guid)
        pages = connection.pages if connection is not None else ()
        return next((page for page in pages if page.target_id == target_id), None)

    @contextmanager
    def gate(self, running: RunningBrowser, spare: frozenset[str]) -> Iterator[str]:
        """Yield a DevTools address of a browser that lists the `spare` targets last (see `AttachGate`).

        A ChromeDriver that has attached through it in the `with` block uses it until it ends.

        Raises:
            DevToolsFailed: The address cannot be made.
        """
        loop, gate = self._running_loop(), AttachGate(running, spare, self._asking)
        try:
            asyncio.run_coroutine_threadsafe(gate.open(), loop).result(CONNECT_S)
        except (OSError, CancelledError, *TIMEOUTS) as error:
            raise DevToolsFailed(f"No DevTools address for ChromeDriver: {error}") from error
        try:
            yield gate.address
        except BaseException:
            asyncio.run_coroutine_threadsafe(gate.close(), loop)
            raise
        loop.call_soon_threadsafe(gate.attached)
        with self._lock:
            self._gates[running.browser_guid] = gate

    def forget(self, browser_guid: str) -> None:
        """Close the connection to a browser, if there is one."""
        with self._lock:
            known = self._connections.pop(browser_guid, None)
            self._opened.pop(browser_guid, None)
            gate = self._gates.pop(browser_guid, None)
        if gate is not None and self._loop is not None:
            asyncio.run_coroutine_threadsafe(gate.close(), self._loop)
        if known is not None and known.done() and known.exception() is None and self._loop is not None:
            asyncio.run_coroutine_threadsafe(known.result().close(), self._loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise DevToolsFailed("The DevTools connections are closed")
        return self._loop

    async def _connect_once_told(self, port_file: Path) -> None:
        while port_file in self._starting:
            if (address := told_address(port_file)) is not None:
                with self._lock:
                    if port_file in self._starting:
                        self._begin_connecting(address)
                return
            await asyncio.sleep(TOLD_POLL_S)

    def _begin_connecting(self, address: str) -> Future[Connection]:
        loop = self._running_loop()
        begun = asyncio.run_coroutine_threadsafe(self._connect(address), loop)
        self._connections[_guid(address)] = begun
        return begun

    async def _connect(self, address: str) -> Connection:
        socket = await open_socket(address)
        connection = Connection(asyncio.get_running_loop(), socket, self._max_downloads_mb)
        try:
            await connection.open()
        except BaseException:
            await connection.close()
            raise
        with self._lock:
            # It may have been forgotten in the meantime.
            if _guid(address) in self._connections:
                self._opened[_guid(address)] = connection
        return connection


def told_address(port_file: Path) -> str | None:
    """Return the DevTools address that Chrome has written into its profile; None if it has not yet.

    The file has two lines: the port, and the path with the GUID of this start.
    """
    try:
        port, path = port_file.read_text(encoding="ascii").split("\n")
    except (OSError, ValueError):
        return None
    return f"ws://127.0.0.1:{port}{path}"


def _guid(address: str) -> str:
    return address.rpartition("/")[2]


async def _close_all(known: Sequence[Future[Connection]]) -> None:
    open_ones = [one.result() for one in known if one.done() and one.exception() is None]
    await asyncio.gather(*(one.close() for one in open_ones), return_exceptions=True)


async def _cancel_remaining_tasks() -> None:
    """Cancel connections that are still being opened, and commands that came at the last moment."""
    await asyncio.sleep(0)
    await end_tasks(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
