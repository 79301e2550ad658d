"""DevTools connections, one to each session's browser, independent of ChromeDriver.

They report crashed tabs, which neither ChromeDriver's `/status` nor Chrome's `/json/list` shows, and
they read and capture pages without blocking a running command. All of them run on the event loop of
one thread; callers wait for them with timeouts.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent import futures
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from drover.browser.running_browser import RunningBrowser

CONNECT_S = 5.0
CRASH_PROBE_S = 1.0
CLOSE_S = 1.0
SPARE_S = 1.0
# Three different classes before Python 3.11, one class since then.
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError, futures.TimeoutError)

CdpResult = Mapping[str, Any]


class DevToolsFailed(Exception):
    """A DevTools command failed, was not answered in time, or could not be sent."""


class DevToolsRefused(DevToolsFailed):
    """Chrome answered a DevTools command with an error."""


@dataclass(frozen=True, slots=True)
class BrowserSignals:
    """What a DevTools connection knows of a browser's pages.

    Attributes:
        crashed_pages: Target ids of pages whose renderer has crashed and that were not reloaded.
        no_page_left: The last page was closed.
    """

    crashed_pages: tuple[str, ...] = ()
    no_page_left: bool = False


NO_SIGNALS = BrowserSignals()


class Connection:
    """The DevTools connection to one browser; its methods may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: ClientConnection) -> None:
        self._loop = loop
        self._socket = socket
        self._number = 0
        self._pending: dict[int, asyncio.Future[CdpResult]] = {}
        self._pages: set[str] = set()
        self._had_pages = False
        self._crashed: set[str] = set()
        self._attached: dict[str, str] = {}
        self._reader = loop.create_task(self._read())

    @property
    def alive(self) -> bool:
        """Whether the connection is still open."""
        return not self._reader.done()

    @property
    def seen(self) -> BrowserSignals:
        """The signals received so far; they stay when the browser is gone."""
        return BrowserSignals(
            tuple(self._crashed & self._pages), no_page_left=self._had_pages and not self._pages
        )

    def call(self, method: str, timeout: float, **parameters: object) -> CdpResult:
        """Send a command to the browser and return its result.

        Raises:
            DevToolsFailed: Refused, not answered within `timeout` seconds, or the connection is lost.
        """
        return self._run(self._call(method, parameters, None), timeout)

    def call_page(self, target_id: str, method: str, timeout: float, **parameters: object) -> CdpResult:
        """Send a command to a page and return its result; waits while the page is busy or shows a dialog.

        Raises:
            DevToolsFailed: Refused, not answered within `timeout` seconds, or the page is gone.
        """
        return self._run(self._call_page(target_id, method, parameters), timeout)

    def reload_page(self, target_id: str, timeout: float) -> None:
        """Reload a page, with a new renderer if its own has crashed.

        Raises:
            DevToolsFailed: The page is gone, or the browser does not answer.
        """
        self.call_page(target_id, "Page.reload", timeout)
        self._loop.call_soon_threadsafe(self._crashed.discard, target_id)

    def _run(self, command: Coroutine[Any, Any, CdpResult], timeout: float) -> CdpResult:
        async def bounded() -> CdpResult:
            return await asyncio.wait_for(command, timeout)

        whole = bounded()
        try:
            # If the loop is stopped at this moment, nothing ends the inner wait.
            return asyncio.run_coroutine_threadsafe(whole, self._loop).result(timeout + SPARE_S)
        except _TIMEOUTS as error:
            raise DevToolsFailed(f"Chrome did not answer within {timeout:g} s") from error
        except (RuntimeError, CancelledError) as error:
            whole.close()
            command.close()
            raise DevToolsFailed("The DevTools connections are closed") from error
        except (WebSocketException, OSError) as error:
            raise DevToolsFailed(f"The connection to Chrome was lost: {error}") from error

    async def open(self) -> None:
        """Subscribe to the events of all targets, and find pages that have already crashed."""
        await self._call("Target.setDiscoverTargets", {"discover": True}, None)
        probes = (self._probe_for_crash(target_id) for target_id in tuple(self._pages))
        await asyncio.gather(*probes, return_exceptions=True)

    async def close(self) -> None:
        """Close the connection; the browser keeps running."""
        self._reader.cancel()
        await self._socket.close()

    async def _call_page(self, target_id: str, method: str, parameters: Mapping[str, object]) -> CdpResult:
        if target_id not in self._attached:
            attach = {"targetId": target_id, "flatten": True}
            answer = await self._call("Target.attachToTarget", attach, None)
            self._attached[target_id] = str(answer["sessionId"])
        return await self._call(method, parameters, self._attached[target_id])

    async def _probe_for_crash(self, target_id: str) -> None:
        # Chrome reports a crash once, but sends Inspector.targetCrashed again when that domain is enabled.
        await asyncio.wait_for(self._call_page(target_id, "Inspector.enable", {}), CRASH_PROBE_S)

    async def _call(self, method: str, parameters: Mapping[str, object], session: str | None) -> CdpResult:
        if self._reader.done():
            raise DevToolsFailed("The connection to Chrome was lost")
        self._number += 1
        number, answered = self._number, self._loop.create_future()
        self._pending[number] = answered
        message = {"id": number, "method": method, "params": parameters}
        try:
            await self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
            answer = await answered
        finally:
            del self._pending[number]
        if "error" in answer:
            raise DevToolsRefused(f"Chrome refused {method}: {answer['error'].get('message')}")
        result: CdpResult = answer.get("result", {})
        return result

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                self._receive(json.loads(text))
        except WebSocketException:
            # How the connection ended does not matter: pending calls fail below.
            return
        finally:
            for answered in self._pending.values():
                if not answered.done():
                    answered.set_exception(DevToolsFailed("The connection to Chrome was lost"))

    def _receive(self, message: CdpResult) -> None:
        answered = self._pending.get(message.get("id", 0))
        if answered is not None and not answered.done():
            answered.set_result(message)
        elif message.get("method") == "Inspector.targetCrashed":
            session = message.get("sessionId")
            self._crashed |= {target for target, known in self._attached.items() if known == session}
        elif "method" in message:
            self._handle_event(message["method"], message.get("params", {}))

    def _handle_event(self, event: str, parameters: CdpResult) -> None:
        target = parameters.get("targetInfo", {})
        if event in {"Target.targetCreated", "Target.targetInfoChanged"} and target.get("type") == "page":
            self._pages.add(target["targetId"])
            self._had_pages = True
        elif event == "Target.targetCrashed":
            self._crashed.add(parameters["targetId"])
        elif event == "Target.targetDestroyed":
            self._pages.discard(parameters["targetId"])
            self._crashed.discard(parameters["targetId"])
        elif event == "Target.detachedFromTarget":
            self._attached = {t: s for t, s in self._attached.items() if s != parameters.get("sessionId")}


class DevTools:
    """The DevTools connections, at most one to each browser, opened on first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connections: dict[str, Future[Connection]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="devtools", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections and stop the thread; the browsers keep running."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            known = tuple(self._connections.values())
            self._connections.clear()
        if loop is None or thread is None:
            return
        with suppress(*_TIMEOUTS):
            asyncio.run_coroutine_threadsafe(_close_all(known), loop).result(CONNECT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CONNECT_S)
        loop.run_until_complete(_cancel_remaining_tasks())
        loop.close()

    def of(self, running: RunningBrowser) -> Connection:
        """Return the connection to a browser; a new one if there is none or it was lost.

        Raises:
            DevToolsFailed: The browser does not accept a connection.
        """
        with self._lock:
            known = self._connections.get(running.browser_guid)
            if known is None or (known.done() and (known.exception() or not known.result().alive)):
                loop = self._running_loop()
                known = asyncio.run_coroutine_threadsafe(self._connect(running), loop)
                self._connections[running.browser_guid] = known
        try:
            return known.result(CONNECT_S)
        except (WebSocketException, OSError, CancelledError, *_TIMEOUTS) as error:
            raise DevToolsFailed(f"Cannot connect to Chrome DevTools: {error}") from error

    def seen(self, running: RunningBrowser) -> BrowserSignals:
        """Return the signals received from a browser so far, without any I/O."""
        with self._lock:
            known = self._connections.get(running.browser_guid)
        return (
            known.result().seen
            if known is not None and known.done() and not known.exception()
            else NO_SIGNALS
        )

    def forget(self, browser_guid: str) -> None:
        """Close the connection to a browser, if there is one."""
        with self._lock:
            known = self._connections.pop(browser_guid, None)
        if known is not None and known.done() and known.exception() is None and self._loop is not None:
            asyncio.run_coroutine_threadsafe(known.result().close(), self._loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise DevToolsFailed("The DevTools connections are closed")
        return self._loop

    async def _connect(self, running: RunningBrowser) -> Connection:
        # Chrome accepts a DevTools connection without an `Origin` header, and rejects a foreign origin.
        socket = await connect(
            f"ws://{running.debugger_address}/devtools/browser/{running.browser_guid}",
            compression=None,
            max_size=None,
            open_timeout=CONNECT_S,
            close_timeout=CLOSE_S,
            ping_interval=None,
            proxy=None,
        )
        connection = Connection(asyncio.get_running_loop(), socket)
        try:
            await connection.open()
        except BaseException:
            await connection.close()
            raise
        return connection


async def _close_all(known: Sequence[Future[Connection]]) -> None:
    open_ones = [one.result() for one in known if one.done() and one.exception() is None]
    await asyncio.gather(*(one.close() for one in open_ones), return_exceptions=True)


async def _cancel_remaining_tasks() -> None:
    """Cancel connections that are still being opened, and commands that came at the last moment."""
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
