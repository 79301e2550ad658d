"""Relays the commands of one session to its ChromeDriver, in order, and heals the session where it is dead.

A command that was never sent goes to the healed session. One that was on its way when something died is
not run twice: its client gets an error that names the recovery. What only reads is repeated, where the
page is still the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from http import HTTPStatus

from drover.attach import w3c
from drover.attach.driver_connection import ConnectFailed, ConnectionLost, DriverConnection, DriverResponse
from drover.browser.recovery import Method, Recovery
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import ClientDisconnected, Deadline
from drover.core.errors import RecoveryFailed
from drover.net.asgi import JSON_TYPE, Response, on_thread
from drover.sessions.pool.acquire_request import Acquired
from drover.sessions.pool.driver_access import DriverAccess
from drover.sessions.pool.session import Session
from session_manager import SessionManager

HEAL_S = 120.0
ATTEMPTS = 3
"""How often a command is sent at the most: a session may die again between its recovery and the command."""
TOLD_S = 0.5
LOOK_AGAIN_S = 0.02
# ChromeDriver's words for what it finds dead itself. An error of a page may hold them by chance: they only
# have the session looked at.
_OF_THE_DEAD = (b"invalid session id", b"tab crashed", b"disconnected", b"not connected to DevTools")
# These say nothing of how the browser is, and may be long.
_ERRORS_FROM = HTTPStatus.BAD_REQUEST


class CommandQueue:
    """The commands of one session: one at a time, first come first served, over one connection.

    Args:
        session_id: Drover's id of the session.
        manager: Heals it.
        driver_access: Tells where it lives.
        executor: Runs what blocks.
        watch_s: Seconds after which a command without an answer has its session looked at, and again.
    """

    def __init__(
        self,
        session_id: str,
        manager: SessionManager,
        driver_access: DriverAccess,
        executor: Executor,
        watch_s: float,
    ) -> None:
        self._session_id = session_id
        self._manager = manager
        self._driver_access = driver_access
        self._executor = executor
        self._watch_s = watch_s
        self._turn = asyncio.Lock()
        self._connection: DriverConnection | None = None

    async def command(self, method: str, path: str, body: bytes, gone: Future[None]) -> Response:
        """Send one command when its turn comes, and give ChromeDriver's answer.

        Args:
            method: The HTTP method.
            path: What follows the session's id, with its slash.
            body: As the client sent it.
            gone: Done when the client has hung up; a command that still waits for its turn is dropped then.

        Raises:
            SessionNotFound: The session has ended.
            RecoveryFailed: It was dead, and could not be brought back.
            ClientDisconnected: The client hung up before the turn came.
        """
        async with self._turn:
            if gone.done():
                raise ClientDisconnected
            with self._driver_access.use(self._driver_access.session(self._session_id)):
                return await self._relay(method, path, body)

    @property
    def is_busy(self) -> bool:
        """Tell whether a command runs, so that another one would have to wait for its turn."""
        return self._turn.locked()

    def close(self) -> None:
        """Close the connection to ChromeDriver; a command that is on its way is cut off."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _relay(self, method: str, path: str, body: bytes) -> Response:
        for _ in range(ATTEMPTS):
            session = await self._well()
            running = _running(session)
            try:
                reply = await self._exchange(running, method, path, body)
            except ConnectFailed:
                await self._heal()
                continue
            except ConnectionLost as error:
                recovery = await self._recovered(running)
                if not _may_repeat(method, recovery):
                    return w3c.unknown_error(_interrupted(recovery, str(error)))
                continue
            recovery = await self._found_dead(session, reply)
            if recovery is None:
                self._driver_access.answered(session)
                return _answer(reply, running, self._session_id)
            if not _may_repeat(method, recovery):
                return w3c.unknown_error(_interrupted(recovery, _words_of(reply)))
        raise RecoveryFailed(
            f"Session {self._session_id} dies again and again under this command: ask later, or DELETE it"
        )

    async def _well(self) -> Session:
        """Give the session, healed where something is known against it."""
        session = self._driver_access.session(self._session_id)
        return session if self._driver_access.seems_well(session) else (await self._heal()).session

    async def _heal(self) -> Acquired:
        return await on_thread(
            self._executor, partial(self._manager.check, self._session_id, Deadline(HEAL_S))
        )

    async def _recovered(self, before: RunningBrowser) -> Recovery | None:
        """Have the session looked at; gives the recovery that replaced what ran `before`, if any did."""
        acquired = await self._heal()
        if acquired.session.running == before:
            return acquired.recovery
        return acquired.recovery or acquired.session.last_recovery

    async def _exchange(self, running: RunningBrowser, method: str, path: str, body: bytes) -> DriverResponse:
        connection = self._connected_to(running)
        watch = _Later(self._watch_s, partial(self._watch_over, connection, running))
        try:
            return await connection.exchange(method, f"/session/{running.driver_session_id}{path}", body)
        finally:
            watch.cancel()

    async def _watch_over(self, connection: DriverConnection, running: RunningBrowser) -> None:
        """Look at the session while its command has no answer, and cut the command off if it is dead."""
        while True:
            try:
                found = await self._heal()
            except Exception:  # noqa: BLE001 - whoever is cut off asks again, and is told
                connection.close()
                return
            if found.session.running != running:
                connection.close()
                return
            await asyncio.sleep(self._watch_s)

    def _connected_to(self, running: RunningBrowser) -> DriverConnection:
        if self._connection is None or self._connection.url != running.driver_url:
            self.close()
            self._connection = DriverConnection(running.driver_url)
        return self._connection

    async def _found_dead(self, session: Session, reply: DriverResponse) -> Recovery | None:
        """Look at a session whose command failed; gives its recovery, None where it is well."""
        if reply.status < _ERRORS_FROM:
            return None
        if any(words in reply.body for words in _OF_THE_DEAD):
            await self._until_told(session)
        elif self._driver_access.seems_well(session):
            return None
        return await self._recovered(_running(session))

    async def _until_told(self, session: Session) -> None:
        # Chrome tells of a crashed tab on another connection than ChromeDriver, and at its own pace.
        loop = asyncio.get_running_loop()
        over = loop.time() + TOLD_S
        while loop.time() < over and self._driver_access.seems_well(session):  # noqa: ASYNC110 - told on a thread
            await asyncio.sleep(LOOK_AGAIN_S)


class _Later:
    """Begins something after some seconds, unless it is cancelled before: a timer costs a task's tenth."""

    def __init__(self, seconds: float, begin: Callable[[], Coroutine[None, None, None]]) -> None:
        self._begin = begin
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start)

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._begin())

    def cancel(self) -> None:
        """End it, whether it has begun or not."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


def _running(session: Session) -> RunningBrowser:
    if session.running is None:
        raise RecoveryFailed(f"Session {session.session_id} has no browser at this moment; ask again")
    return session.running


def _may_repeat(method: str, recovery: Recovery | None) -> bool:
    """Tell whether a command may be run again: it only reads, and the page is the one that it was sent to."""
    return method == "GET" and (recovery is None or recovery.method is Method.REATTACHED)


def _interrupted(recovery: Recovery | None, words: str) -> str:
    if recovery is None:
        return (
            f"The connection to ChromeDriver broke while this command ran, and it was not run again: {words}"
        )
    return (
        f"The session died while this command ran ({recovery.cause.value}: {words}) and was recovered "
        f"({recovery.method.value}); the command was not run again, and the next one works"
    )


def _answer(reply: DriverResponse, running: RunningBrowser, session_id: str) -> Response:
    body = reply.body
    if reply.status >= _ERRORS_FROM:
        # Only errors quote the path of their command.
        body = body.replace(running.driver_session_id.encode(), session_id.encode())
    return Response(reply.status, body, ((b"content-type", JSON_TYPE), (b"cache-control", b"no-cache")))


def _words_of(reply: DriverResponse) -> str:
    value = json.loads(reply.body)["value"]
    message = value["message"] if isinstance(value, Mapping) else value
    return str(message).splitlines()[0]
