"""What a view needs of its session: the page in front, its dialog, its recovery, its files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from drover.api.view_messages import File
from drover.attach.attaching import Attaching
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.dialogs import Dialog
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable, InvalidRequest, SessionNotFound
from drover.net.asgi import on_thread
from drover.net.request_threads import RequestThreads
from drover.processes.table import Liveness, liveness
from drover.sessions.pool.driver_access import DriverAccess
from drover.storage.session_files import store_file

DIALOG_S = 5.0


@dataclass(frozen=True, slots=True)
class FrontPage:
    """The page in front of a browser."""

    running: RunningBrowser
    target_id: str
    url: str
    title: str

    @property
    def address(self) -> str:
        """Its DevTools socket."""
        return f"ws://{self.running.debugger_address}/devtools/page/{self.target_id}"


def read_front_page(
    driver_access: DriverAccess, devtools: DevTools, session_id: str, probe_timeout: float
) -> FrontPage | None:
    """Return the page in front of a session; None if there is none or Chrome does not answer."""
    try:
        running = driver_access.session(session_id).running
    except SessionNotFound:
        return None
    pages = devtools.pages(running, probe_timeout) if running is not None else ()
    if running is None or not pages:
        return None
    if liveness(running.browser) is not Liveness.ALIVE:
        # Its port may be that of another session's browser by now.
        return None
    return FrontPage(running, pages[0].target_id, pages[0].url, pages[0].title)


@dataclass(frozen=True, slots=True)
class SessionAccess:
    """How views reach sessions and their browsers.

    Attributes:
        probe_timeout: Seconds within which Chrome must answer an HTTP request.
    """

    attaching: Attaching
    driver_access: DriverAccess
    devtools: DevTools
    threads: RequestThreads
    probe_timeout: float


@dataclass(eq=False, repr=False)
class ViewedSession:
    """One session that is viewed, whatever browser it has."""

    _session_id: str
    _access: SessionAccess

    @property
    def has_ended(self) -> bool:
        """Whether it is being closed, or no longer exists."""
        return self._access.driver_access.has_ended(self._session_id)

    @property
    def seems_well(self) -> bool:
        """Whether no fault of it is known."""
        try:
            session = self._access.driver_access.session(self._session_id)
        except SessionNotFound:
            return False
        return self._access.driver_access.seems_well(session)

    def use(self) -> AbstractContextManager[None]:
        """Return a context in which the session counts as in use.

        Raises:
            SessionNotFound: It was closed.
        """
        driver_access = self._access.driver_access
        return driver_access.use(driver_access.session(self._session_id))

    async def recover(self) -> None:
        """Check the session, and recover it if it is dead.

        Raises:
            DroverError: It cannot be recovered now, or was closed.
        """
        await self._access.attaching.attachable(self._session_id)

    async def front_page(self) -> FrontPage | None:
        """Return the page in front; None if there is none or Chrome does not answer."""
        access = self._access
        read = partial(
            read_front_page, access.driver_access, access.devtools, self._session_id, access.probe_timeout
        )
        return await on_thread(access.threads.commands, read)

    def dialog(self, front: FrontPage) -> Dialog | None:
        """Return the dialog that is open in a page, without any I/O."""
        page = self._access.devtools.page(front.running, front.target_id)
        return page.dialog if page is not None else None

    async def answer_dialog(self, front: FrontPage, *, accept: bool, text: str) -> None:
        """Answer the open dialog of a page.

        Raises:
            BrowserUnavailable: It was closed in the meantime, or Chrome does not answer.
        """
        # Chrome takes the answer only from a client that was attached before the dialog opened (measured).
        answer = partial(self._answer, front, {"accept": accept, "promptText": text})
        await on_thread(self._access.threads.commands, answer)

    def _answer(self, front: FrontPage, answer: dict[str, object]) -> None:
        method = "Page.handleJavaScriptDialog"
        try:
            self._access.devtools.of(front.running).call_page(front.target_id, method, DIALOG_S, **answer)
        except DevToolsFailed as error:
            raise BrowserUnavailable(f"The dialog was not answered: {error}") from error

    async def store(self, files: Sequence[File]) -> list[str]:
        """Store files among the uploads of the session; return their paths.

        Raises:
            DroverError: A name or a content is invalid, a file is too large, or the disk is full.
        """
        return await on_thread(self._access.threads.commands, partial(self._store, files))

    def _store(self, files: Sequence[File]) -> list[str]:
        folder = self._access.driver_access.session(self._session_id).folder
        return [str(store_file(folder, file.name, _decoded(file))) for file in files]


def _decoded(file: File) -> bytes:
    try:
        return base64.b64decode(file.content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"The content of {file.name[:80]!r} is not base64: {error}") from error
