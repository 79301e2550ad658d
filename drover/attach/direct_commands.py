"""The usual commands, relayed without the tasks, messages and layers of ASGI, which take half of their time.

A command is direct if the access check lets it pass and the service does not act upon it. If its session does
not seem well, or the command fails, the ASGI application answers; it gets what was begun with the request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

from drover.attach import file_commands
from drover.attach.relay import Begun, CommandQueue, DirectCommand
from drover.attach.webdriver import COMMAND
from drover.core.errors import DroverError
from drover.net import access
from drover.net.asgi import Header, Response, Scope, head_of
from drover.net.target import read_target

_METHODS = frozenset({"GET", "POST"})


@dataclass(eq=False, repr=False)
class DirectCommands:
    """Begins direct commands.

    Args:
        queues: The queues of all sessions that have had a command, by their ids.
        gate_is_open: Returns whether the start of the service is over.
        withheld: Returns why no answer may be given now, if none may: a node of several machines is not sure
            of its sessions. It is asked before a command is sent and before it is answered; the application,
            which asks as well, then refuses the command.
        observe: Called with the seconds that each command took, including ChromeDriver's time.
    """

    _queues: Mapping[str, CommandQueue]
    _policy: access.AccessPolicy
    _gate_is_open: Callable[[], bool]
    _withheld: Callable[[], DroverError | None]
    _observe: Callable[[float], None]
    _allows: Callable[[str, tuple[Header, ...]], bool] = field(init=False)

    def __post_init__(self) -> None:
        # A client sends the same headers with almost every command.
        self._allows = lru_cache(maxsize=256)(partial(_is_allowed, self._policy))

    def begin(
        self,
        scope: Scope,
        body: bytes,
        is_gone: Callable[[], bool],
        done: Callable[[Response | None, Begun | None], None],
    ) -> bool:
        """Begin a command without a query whose body is complete; False if it is not direct.

        Args:
            is_gone: Returns whether its client has disconnected.
            done: See `DirectCommand`.
        """
        named = _command_at(scope["raw_path"])
        if named is None:
            return False
        method, (session_id, command) = scope["method"], named
        queue = self._queues.get(session_id)
        if queue is None or method not in _METHODS or not self._gate_is_open():
            return False
        if command in file_commands.COMMANDS or self._withheld() is not None:
            return False
        if not self._allows(method, tuple(scope["headers"])):
            return False
        begun_at = time.monotonic()

        def may_answer() -> bool:
            return self._withheld() is None

        def is_void() -> bool:
            return is_gone() or not may_answer()

        def observed(response: Response | None, begun: Begun | None) -> None:
            done(response, begun)
            if response is not None:
                # The loop sends the response first.
                asyncio.get_running_loop().call_soon(self._observe, time.monotonic() - begun_at)

        queue.begin(DirectCommand(method, command, body, begun_at, is_void, may_answer, observed))
        return True


@lru_cache(maxsize=256)
def _command_at(raw: bytes) -> tuple[str, str] | None:
    """Return the session's id and the command in a target; None if it is none of a command."""
    target = read_target(raw)
    named = COMMAND.fullmatch(target.path)
    if named is None or target.host is not None or target.refusal is not None:
        return None
    return named["session_id"], named["command"]


def _is_allowed(policy: access.AccessPolicy, method: str, headers: tuple[Header, ...]) -> bool:
    """Return whether the access check lets a command pass, whose path is never an open one."""
    scope = {"type": "http", "method": method, "path": "/wd/hub/session/id/url", "headers": headers}
    return access.refusal(head_of(scope), policy) is None
