"""The DevTools connection to one browser: commands, crashed tabs, dialogs.

It reports crashed tabs, which neither ChromeDriver's `/status` nor Chrome's `/json/list` shows, reads and
captures pages without blocking a running command, and knows the dialogs that are open.

Chrome lets a DevTools session answer a dialog only if it had enabled the page's domain before the dialog
opened (measured). So every page is attached as soon as it is announced. `Target.setAutoAttach` would
attach it as well, but then `window.open` never returns in a page that ChromeDriver drives: the new page
waits to be released, which ChromeDriver 156 does only if no other client was attached before it; and if we
released it, other clients could not prepare it any more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent import futures
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from drover.browser.dialogs import DialogAnswers
from drover.browser.downloads import DownloadLimit
from drover.browser.page_targets import BrowserSignals, PageTarget, PageTargets

WATCH_S = 1.0
SERVE_S = 3.0
SPARE_S = 1.0
_ANNOUNCED = frozenset({"Target.targetCreated", "Target.targetInfoChanged"})
# Three different classes before Python 3.11, one class since then.
TIMEOUTS = (TimeoutError, asyncio.TimeoutError, futures.TimeoutError)

CdpResult = Mapping[str, Any]
_Result = TypeVar("_Result")


class DevToolsFailed(Exception):
    """A DevTools command failed, was not answered in time, or could not be sent."""


class DevToolsRefused(DevToolsFailed):
    """Chrome answered a DevTools command with an error."""


class Connection:
    """The DevTools connection to one browser; its methods may be called from any thread.

    Args:
        max_downloads_mb: The limit of the browser's downloads in MiB; 0 = none.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, socket: ClientConnection, max_downloads_mb: int
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._number = 0
        self._pending: dict[int, tuple[str | None, asyncio.Future[CdpResult]]] = {}
        self._targets = PageTargets()
        self._attaching: dict[str, asyncio.Task[str]] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._answers: DialogAnswers | None = None
        self._serving: set[str] = set()
        self._downloads = DownloadLimit(max_downloads_mb, self._call, self._in_background, DevToolsFailed)
        self._reader = loop.create_task(self._read())

    @property
    def alive(self) -> bool:
        """Whether the connection is still open."""
        return not self._reader.done()

    @property
    def seen(self) -> BrowserSignals:
        """The signals received so far; they stay when the browser is gone."""
        return self._targets.signals

    @property
    def cancelled_downloads(self) -> int:
        """How many downloads were cancelled at the limit."""
        return self._downloads.cancelled

    @property
    def pages(self) -> tuple[PageTarget, ...]:
        """The pages that are open, the oldest first."""
        return self._targets.pages

    @property
    def own_pages(self) -> frozenset[str]:
        """The target ids of open pages that Drover has opened for itself, and of their popups."""
        return self._targets.own

    def pages_beside_the_profile(self, timeout: float) -> frozenset[str]:
        """Return the target ids of pages in browser contexts that clients have created.

        Raises:
            DevToolsFailed: Refused, not answered within `timeout` seconds, or the connection is lost.
        """
        created = self.call("Target.getBrowserContexts", timeout).get("browserContextIds", ())
        return frozenset(page.target_id for page in self.pages if page.context in created)

    def leave_out(self, target_id: str) -> None:
        """Take a page for one that Drover has opened for itself, so that it is none of the session's.

        Raises:
            DevToolsFailed: The connections are closed.
        """
        self._on_loop(self._targets.leave_out, target_id)

    def call(self, method: str, timeout: float, **parameters: object) -> CdpResult:
        """Send a command to the browser and return its result.

        Raises:
            DevToolsFailed: Refused, not answered within `timeout` seconds, or the connection is lost.
        """
        return self._run(self._call(method, parameters), timeout)

    def call_page(self, target_id: str, method: str, timeout: float, **parameters: object) -> CdpResult:
        """Send a command to a page and return its result; waits while the page is busy or shows a dialog.

        Raises:
            DevToolsFailed: Refused, not answered within `timeout` seconds, or the page is gone.
        """
        return self._run(self._call_page(target_id, method, parameters), timeout)

    def call_pages(self, method: str, timeout: float) -> Mapping[str, CdpResult]:
        """Send a command to every page; return the results of those that answer in time, by target id.

        Raises:
            DevToolsFailed: The connection is lost.
        """
        results = self._run(self._call_pages(method, {}, timeout), timeout + SPARE_S)
        return {target: one for target, one in results.items() if not isinstance(one, Exception)}

    def reload_page(self, target_id: str, timeout: float) -> None:
        """Reload a page, with a new renderer if its own has crashed.

        Raises:
            DevToolsFailed: The page is gone, or the browser does not answer.
        """
        self.call_page(target_id, "Page.reload", timeout)
        self._loop.call_soon_threadsafe(partial(self._targets.change, target_id, crashed=False))

    def silent_pages(self, timeout: float) -> tuple[PageTarget, ...]:
        """Return the pages that do not answer within `timeout` seconds: they compute, or are blocked.

        Raises:
            DevToolsFailed: The connection is lost.
        """
        return self._run(self._silent_pages(timeout), timeout + SPARE_S)

    @contextmanager
    def answering_dialogs(self, answers: DialogAnswers) -> Iterator[None]:
        """Answer the dialogs that are open, and in the `with` block those that open.

        Raises:
            DevToolsFailed: The connections are closed.
        """
        self._on_loop(self._answer_with, answers)
        try:
            yield
        finally:
            with suppress(DevToolsFailed):
                self._on_loop(self._answer_with, None)

    @contextmanager
    def serving_empty_pages(self, target_id: str) -> Iterator[None]:
        """Answer each request of a page with an empty document in the `with` block; no site is asked.

        Raises:
            DevToolsFailed: The page is gone, or the browser does not answer.
        """
        self._on_loop(self._serving.add, target_id)
        try:
            # A service worker of the origin would answer instead.
            self.call_page(target_id, "Network.enable", SERVE_S)
            self.call_page(target_id, "Network.setBypassServiceWorker", SERVE_S, bypass=True)
            self.call_page(target_id, "Fetch.enable", SERVE_S)
            yield
        finally:
            with suppress(DevToolsFailed):
                self.call_page(target_id, "Fetch.disable", SERVE_S)
                self.call_page(target_id, "Network.setBypassServiceWorker", SERVE_S, bypass=False)
                self.call_page(target_id, "Network.disable", SERVE_S)
            with suppress(DevToolsFailed):
                self._on_loop(self._serving.discard, target_id)

    def _on_loop(self, change: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(change, *arguments)
        except RuntimeError as error:
            raise DevToolsFailed("The DevTools connections are closed") from error

    def _run(self, command: Coroutine[Any, Any, _Result], timeout: float) -> _Result:
        async def bounded() -> _Result:
            return await asyncio.wait_for(command, timeout)

        whole = bounded()
        try:
            # If the loop is stopped at this moment, nothing ends the inner wait.
            return asyncio.run_coroutine_threadsafe(whole, self._loop).result(timeout + SPARE_S)
        except TIMEOUTS as error:
            raise DevToolsFailed(f"Chrome did not answer within {timeout:g} s") from error
        except (RuntimeError, CancelledError) as error:
            whole.close()
            command.close()
            raise DevToolsFailed("The DevTools connections are closed") from error
        except (WebSocketException, OSError) as error:
            raise DevToolsFailed(f"The connection to Chrome was lost: {error}") from error

    async def open(self) -> None:
        """Subscribe to the events of all targets, and attach to their pages.

        Waits a moment until the pages are watched; one that is busy, crashed or shows a dialog delays it.
        """
        with suppress(DevToolsRefused):
            # A browser that does not know the command is watched all the same, without the limit.
            await self._downloads.watch()
        await self._call("Target.setDiscoverTargets", {"discover": True})
        if self._watching:
            await asyncio.wait(tuple(self._watching.values()), timeout=WATCH_S)

    async def close(self) -> None:
        """Close the connection; the browser keeps running."""
        self._reader.cancel()
        for task in (*self._watching.values(), *self._attaching.values(), *self._working):
            task.cancel()
        await self._socket.close()

    async def _call_page(self, target_id: str, method: str, parameters: Mapping[str, object]) -> CdpResult:
        return await self._call(method, parameters, await self._session_of(target_id))

    async def _call_pages(
        self, method: str, parameters: Mapping[str, object], timeout: float
    ) -> Mapping[str, CdpResult | Exception]:
        """Send a command to every page; return the results or errors by target id."""

        async def result_of(target_id: str) -> CdpResult | Exception:
            try:
                return await asyncio.wait_for(self._call_page(target_id, method, parameters), timeout)
            except (DevToolsFailed, *TIMEOUTS) as error:
                return error

        targets = [page.target_id for page in self.pages]
        results = await asyncio.gather(*map(result_of, targets))
        if not self.alive:
            raise DevToolsFailed("The connection to Chrome was lost")
        return dict(zip(targets, results, strict=True))

    async def _silent_pages(self, timeout: float) -> tuple[PageTarget, ...]:
        # A page that was closed or that refuses the command answers too.
        results = await self._call_pages("Runtime.evaluate", {"expression": "0"}, timeout)
        silent = {target for target, result in results.items() if isinstance(result, TIMEOUTS)}
        return tuple(page for page in self.pages if page.target_id in silent or page.crashed)

    async def _session_of(self, target_id: str) -> str:
        known = self._targets.session_of(target_id)
        if known is not None:
            return known
        attaching = self._attaching.get(target_id)
        if attaching is None:
            attaching = self._attaching[target_id] = self._loop.create_task(self._attach(target_id))
            attaching.add_done_callback(lambda done: _drop(self._attaching, target_id, done))
        return await asyncio.shield(attaching)

    async def _attach(self, target_id: str) -> str:
        answer = await self._call("Target.attachToTarget", {"targetId": target_id, "flatten": True})
        session = str(answer["sessionId"])
        self._targets.attached(target_id, session)
        return session

    async def _watch(self, target_id: str) -> None:
        """Have a page's dialogs and its crash reported.

        Chrome reports a crash once, but sends Inspector.targetCrashed again when that domain is enabled.
        """
        try:
            session = await self._session_of(target_id)
            await asyncio.gather(
                self._call("Page.enable", {}, session), self._call("Inspector.enable", {}, session)
            )
        except DevToolsFailed:
            # It was closed while we attached to it.
            return
        self._targets.change(target_id, watched=True)

    async def _call(
        self, method: str, parameters: Mapping[str, object], session: str | None = None
    ) -> CdpResult:
        if self._reader.done():
            raise DevToolsFailed("The connection to Chrome was lost")
        self._number += 1
        number, answered = self._number, self._loop.create_future()
        self._pending[number] = session, answered
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
            self._fail_pending("The connection to Chrome was lost")

    def _receive(self, message: CdpResult) -> None:
        _, answered = self._pending.get(message.get("id", 0), (None, None))
        if answered is not None and not answered.done():
            answered.set_result(message)
        elif "method" in message:
            self._handle_event(message["method"], message.get("params", {}), message.get("sessionId"))

    def _handle_event(self, event: str, parameters: CdpResult, session: str | None) -> None:
        self._downloads.handle(event, parameters)
        page = self._targets.handle(event, parameters, session)
        if event == "Target.detachedFromTarget":
            self._fail_pending("The page is gone", parameters["sessionId"])
        if page is None:
            return
        if event == "Page.javascriptDialogOpening" and self._answers is not None:
            self._in_background(self._answer_dialog(page, self._answers))
        elif event == "Fetch.requestPaused" and page.target_id in self._serving:
            self._in_background(self._serve_empty_page(parameters["requestId"], session))
        elif event in _ANNOUNCED and not self._is_attached(page.target_id):
            watching = self._watching[page.target_id] = self._loop.create_task(self._watch(page.target_id))
            watching.add_done_callback(lambda done: _drop(self._watching, page.target_id, done))

    def _is_attached(self, target_id: str) -> bool:
        return target_id in self._watching or self._targets.session_of(target_id) is not None

    def _fail_pending(self, reason: str, session: str | None = None) -> None:
        """Fail the calls that wait for an answer, of one session or all."""
        for of, answered in self._pending.values():
            if not answered.done() and session in (None, of):
                answered.set_exception(DevToolsFailed(reason))
                # A call whose message could not be sent does not wait, and asyncio would report its error.
                answered.exception()

    def _answer_with(self, answers: DialogAnswers | None) -> None:
        self._answers = answers
        if answers is not None:
            for page in self.pages:
                self._in_background(self._answer_dialog(page, answers))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _serve_empty_page(self, request_id: str, session: str | None) -> None:
        headers = [{"name": "Content-Type", "value": "text/html"}]
        with suppress(DevToolsFailed):
            # If the page has been closed, nothing waits for it any more.
            await self._call(
                "Fetch.fulfillRequest",
                {"requestId": request_id, "responseCode": 200, "responseHeaders": headers, "body": ""},
                session,
            )

    async def _answer_dialog(self, page: PageTarget, answers: DialogAnswers) -> None:
        session = self._targets.session_of(page.target_id)
        if page.dialog is None or session is None:
            return
        try:
            await self._call("Page.handleJavaScriptDialog", answers.answer(page.dialog), session)
        except DevToolsFailed:
            # It was closed in the meantime, by another client or with its page.
            return
        answers.note(page.target_id, page.dialog)


def _drop(tasks: dict[str, asyncio.Task[_Result]], name: str, done: asyncio.Task[_Result]) -> None:
    """Forget a task that has ended, and take its error, which those who waited for it have got."""
    if tasks.get(name) is done:
        del tasks[name]
    if not done.cancelled():
        done.exception()
