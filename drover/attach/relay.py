"""Relay the commands of one session to its ChromeDriver in order, and recover the session if it is dead.

A command that was not sent yet goes to the recovered session. A command that was running when the session
died is not run twice: its client gets an error that names the recovery. A command that only reads is repeated
if the page is still the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from drover.attach import w3c
from drover.attach.attaching import RECOVERY_TIMEOUT_S
from drover.attach.turns import CommandWatch, Turns
from drover.browser import driver_state
from drover.browser.recovery import Method, Recovery
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import ClientDisconnected, Deadline
from drover.core.errors import RecoveryFailed, SessionNotFound
from drover.net.asgi import JSON_TYPE, PART_BYTES, Response, on_thread
from drover.net.loopback_http import Answer, ConnectFailed, ConnectionLost, HttpConnection, Outcome
from drover.sessions.pool.acquire_request import Acquired
from drover.sessions.pool.driver_access import DriverAccess
from drover.sessions.pool.session import Session
from session_manager import SessionManager

ATTEMPTS = 3
"""How often a command is sent at most: a session may die again between its recovery and the command."""
CRASH_SIGNAL_S = 0.5
POLL_S = 0.02
# What ChromeDriver says if it finds the session dead itself. A page's error may contain these words by
# chance, so they only cause a health check.
_DEAD_SESSION_ERRORS = (b"invalid session id", b"tab crashed", b"disconnected", b"not connected to DevTools")
# Successful responses say nothing about the browser's health, and may be long.
_ERRORS_FROM = HTTPStatus.BAD_REQUEST


@dataclass(frozen=True, slots=True)
class DirectCommand:
    """A command that needs no coroutine, as long as all goes well.

    Attributes:
        path: What follows the session's id, beginning with a slash.
        body: As the client sent it.
        begun_at: When it arrived, in seconds of the monotonic clock.
        is_void: Returns whether the command must not be sent any more, asked when its turn has come.
        may_answer: Returns whether its response may be given.
        done: Called once with ChromeDriver's response; or with None, and with what was begun of the command,
            if anything was: then the command needs `CommandQueue.command`, or else `CommandQueue.finish`.
    """

    method: str
    path: str
    body: bytes
    begun_at: float
    is_void: Callable[[], bool]
    may_answer: Callable[[], bool]
    done: Callable[[Response | None, Begun | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """A direct command whose turn has come, and lasts until `end`.

    Attributes:
        begun_at: When it arrived, in seconds of the monotonic clock.
        sent: What was sent of it, if it was.
        end: Ends the turn, if it has not ended.
    """

    begun_at: float
    sent: Sent | None
    end: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that was sent to ChromeDriver.

    Attributes:
        session: Its session.
        running: The ChromeDriver that it was sent to.
        outcome: ChromeDriver's response, or why there is none.
    """

    session: Session
    running: RunningBrowser
    outcome: Outcome


class CommandQueue:
    """The commands of one session: one at a time, first in first out, over one connection.

    Args:
        executor: Runs health checks; a session needs two threads of it at most.
        watch_s: Seconds between health checks of the session while a command has no response.
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
        self._watch = CommandWatch(watch_s)
        self._turns = Turns()
        self._connection: HttpConnection | None = None
        self._has_just_answered = False

    async def command(self, method: str, path: str, body: bytes, gone: Future[None]) -> Response:
        """Wait for earlier commands to finish, send this one and return ChromeDriver's response.

        Args:
            path: What follows the session's id, beginning with a slash.
            body: As the client sent it.
            gone: Completes when the client disconnects; a command that still waits is dropped then.

        Raises:
            SessionNotFound: The session has ended.
            RecoveryFailed: The session was dead and could not be recovered.
            ClientDisconnected: The client disconnected while the command waited.
        """
        async with self._turns.turn():
            if gone.done():
                raise ClientDisconnected
            with self._driver_access.use(self._driver_access.session(self._session_id)):
                return await self._relay(method, path, body)

    def begin(self, command: DirectCommand) -> None:
        """Send a command when its turn has come, and call its `done` with the response."""
        self._turns.take(partial(self._begin_turn, command))

    def _begin_turn(self, command: DirectCommand) -> None:
        if command.is_void():
            self._turns.release()
            command.done(None, None)
            return
        try:
            is_sent = self._is_sent(command)
        except BaseException:
            self._turns.release()
            raise
        if not is_sent:
            command.done(None, Begun(command.begun_at, None, _once(self._turns.release)))

    def _is_sent(self, command: DirectCommand) -> bool:
        """Send a command at once, and return whether it was.

        It is not if the session does not seem well, or if the command depends on what its client has set in
        ChromeDriver, or may change it.
        """
        connection, path = self._connection, command.path
        try:
            session = self._driver_access.session(self._session_id)
        except SessionNotFound:
            return False
        running, state = session.running, session.driver_state
        if connection is None or running is None or connection.url != running.driver_url:
            return False
        method, body = command.method, command.body
        refused = driver_state.refusal(state, method, path, body)
        depends = refused is not None or driver_state.is_noted(method, path, state)
        if depends or not self._driver_access.seems_well(session, lives=self._has_just_answered):
            return False
        target = f"/session/{running.driver_session_id}{path}"
        if not connection.begin(method, target, body, partial(self._answer, command, session, running)):
            return False
        self._driver_access.use_begins(session)
        self._watch.start(partial(self._watch_over, connection, running))
        return True

    def _answer(
        self, command: DirectCommand, session: Session, running: RunningBrowser, outcome: Outcome
    ) -> None:
        end = partial(self._end_turn, session)
        if (
            isinstance(outcome, ConnectionLost)
            or outcome.status >= _ERRORS_FROM
            or len(outcome.body) > PART_BYTES
            or not command.may_answer()
            or self._driver_access.has_ended(self._session_id)
        ):
            command.done(None, Begun(command.begun_at, Sent(session, running, outcome), _once(end)))
            return
        self._driver_access.answered(session)
        response, loop = _response(outcome, running, self._session_id), asyncio.get_running_loop()
        if self._turns.are_awaited:
            # The next command is sent first, so that ChromeDriver works while this one is answered.
            end()
            self._has_just_answered = True
            loop.call_soon(self._answer_after, command, response)
        else:
            # The loop sends the response before its next turn, in which the rest is done.
            loop.call_soon(end)
            command.done(response, None)

    def _answer_after(self, command: DirectCommand, response: Response) -> None:
        self._has_just_answered = False
        command.done(response, None)

    def _end_turn(self, session: Session) -> None:
        self._watch.stop()
        self._driver_access.use_ends(session)
        self._turns.release()

    async def finish(self, begun: Begun, method: str, path: str, body: bytes) -> Response:
        """Return the response to a direct command whose turn has come; as `command` in all else."""
        try:
            if begun.sent is not None:
                return await self._relay(method, path, body, begun.sent)
            with self._driver_access.use(self._driver_access.session(self._session_id)):
                return await self._relay(method, path, body)
        finally:
            begun.end()

    @property
    def is_busy(self) -> bool:
        """Whether a command is running, so that another one would have to wait."""
        return self._turns.is_taken

    def close(self) -> None:
        """Close the connection to ChromeDriver; a running command is interrupted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _relay(self, method: str, path: str, body: bytes, sent: Sent | None = None) -> Response:
        reason = ""
        for _ in range(ATTEMPTS):
            session = await self._ready_session() if sent is None else sent.session
            running = _running(session)
            refused = driver_state.refusal(session.driver_state, method, path, body)
            if sent is None and refused is not None:
                return w3c.refused(refused)
            first, sent = sent, None
            try:
                if first is None:
                    known = driver_state.translated(session.driver_state, path, body)
                    reply = await self._exchange(running, method, path, known)
                else:
                    reply = self._answer_to(first)
            except ConnectFailed as error:
                reason = str(error)
                await self._check()
                continue
            except ConnectionLost as error:
                reason = str(error)
                recovery = await self._recovered(running)
                if not _may_repeat(method, recovery):
                    return w3c.unknown_error(_interrupted(recovery, str(error)))
                continue
            recovery = await self._found_dead(session, reply)
            if recovery is None:
                self._driver_access.answered(session)
                return _response(reply, running, self._session_id)
            reason = _error_message(reply)
            if not _may_repeat(method, recovery):
                return w3c.unknown_error(_interrupted(recovery, reason))
        raise RecoveryFailed(
            f"Session {self._session_id} gave no answer to this command in {ATTEMPTS} attempts; the last "
            f"one failed: {reason}. Retry later, or delete the session."
        )

    async def _ready_session(self) -> Session:
        """Return the session, recovered first if there is a sign that it is not healthy."""
        session = self._driver_access.session(self._session_id)
        return session if self._driver_access.seems_well(session) else (await self._check()).session

    async def _check(self) -> Acquired:
        return await on_thread(
            self._executor, partial(self._manager.check, self._session_id, Deadline(RECOVERY_TIMEOUT_S))
        )

    async def _recovered(self, before: RunningBrowser) -> Recovery | None:
        """Check the session; return the recovery that replaced what ran `before`, or None."""
        acquired = await self._check()
        if acquired.session.running == before:
            return acquired.recovery
        return acquired.recovery or acquired.session.last_recovery

    async def _exchange(self, running: RunningBrowser, method: str, path: str, body: bytes) -> Answer:
        connection = self._connected_to(running)
        self._watch.start(partial(self._watch_over, connection, running))
        try:
            return await connection.exchange(method, f"/session/{running.driver_session_id}{path}", body)
        finally:
            self._watch.stop()

    def _answer_to(self, sent: Sent) -> Answer:
        self._watch.stop()
        if isinstance(sent.outcome, ConnectionLost):
            raise sent.outcome
        return sent.outcome

    async def _watch_over(self, connection: HttpConnection, running: RunningBrowser) -> None:
        """Check the session until its command has a response; interrupt the command if the session died."""
        while True:
            try:
                found = await self._check()
            except Exception:  # noqa: BLE001 - the interrupted command checks again and reports the error
                connection.close()
                return
            if found.session.running != running:
                connection.close()
                return
            await asyncio.sleep(self._watch_s)

    def _connected_to(self, running: RunningBrowser) -> HttpConnection:
        if self._connection is None or self._connection.url != running.driver_url:
            self.close()
            self._connection = HttpConnection(running.driver_url)
        return self._connection

    async def _found_dead(self, session: Session, reply: Answer) -> Recovery | None:
        """Check a session whose command failed; return its recovery, or None if it is healthy."""
        if reply.status < _ERRORS_FROM:
            return None
        if any(error in reply.body for error in _DEAD_SESSION_ERRORS):
            await self._wait_for_crash_signal(session)
        elif self._driver_access.seems_well(session):
            return None
        return await self._recovered(_running(session))

    async def _wait_for_crash_signal(self, session: Session) -> None:
        # Chrome reports a crashed tab on another connection than ChromeDriver's, and possibly later.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CRASH_SIGNAL_S
        while loop.time() < deadline and self._driver_access.seems_well(session):  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(POLL_S)


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function that makes a call when it is called for the first time."""
    calls = [call]
    return lambda: calls.pop()() if calls else None


def _running(session: Session) -> RunningBrowser:
    if session.running is None:
        raise RecoveryFailed(f"Session {session.session_id} has no browser ({session.state.value}); retry")
    return session.running


def _may_repeat(method: str, recovery: Recovery | None) -> bool:
    """Return whether a command can be repeated: it only reads, and the page is still the same."""
    return method == "GET" and (recovery is None or recovery.method is Method.REATTACHED)


def _interrupted(recovery: Recovery | None, error: str) -> str:
    if recovery is None:
        return f"The connection to ChromeDriver broke while this command ran; it was not repeated: {error}"
    return (
        f"The session died while this command ran ({recovery.cause.value}: {error}) and was recovered "
        f"({recovery.method.value}). The command was not repeated; the session accepts new commands."
    )


def _response(reply: Answer, running: RunningBrowser, session_id: str) -> Response:
    body = reply.body
    if reply.status >= _ERRORS_FROM:
        # Only errors quote the path of their command.
        body = body.replace(running.driver_session_id.encode(), session_id.encode())
    return Response(reply.status, body, ((b"content-type", JSON_TYPE), (b"cache-control", b"no-cache")))


def _error_message(reply: Answer) -> str:
    value = json.loads(reply.body)["value"]
    message = value["message"] if isinstance(value, Mapping) else value
    return str(message).splitlines()[0]
