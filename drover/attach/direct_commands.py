"""The usual commands, relayed without the tasks, messages and layers of ASGI, which take half of their time.

A command is direct if nothing about it needs a second look: the access check lets it pass, its session is
ready, seems well and runs no other command, the service does not act upon it, and it succeeds. In every other
case the ASGI application answers, and gets what was begun of the command with its request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from drover.attach import file_commands
from drover.attach.relay import Begun, CommandQueue
from drover.attach.webdriver import COMMAND
from drover.core.errors import SessionNotFound
from drover.net import access
from drover.net.asgi import Response, Scope, head_of
from drover.net.target import read_target

_METHODS = frozenset({"GET", "POST"})
_NOTED = frozenset({"/window", "/timeouts"})
"""Commands whose POST the service takes note of, besides those of `is_noted`."""


class DirectCommand:
    """A command that was sent to ChromeDriver.

    Attributes:
        begun: What the application gets if the command needs more.
    """

    def __init__(self, queue: CommandQueue, begun: Begun, observe: Callable[[float], None]) -> None:
        self._queue = queue
        self.begun = begun
        self._observe = observe

    def end(self) -> None:
        """End the command's turn, if it has not ended."""
        self._queue.end(self.begun)

    def response(self) -> Response | None:
        """Return ChromeDriver's response, once it is there; None if the application has to answer."""
        response = self._queue.plain_answer(self.begun)
        if response is not None:
            self._observe(time.monotonic() - self.begun.begun_at)
        return response


class DirectCommands:
    """Begins direct commands.

    Args:
        queues: The queues of all sessions that have had a command, by their ids.
        policy: The requests that are allowed.
        gate_is_open: Returns whether the start of the service is over.
        observe: Called with the seconds that each command took, including ChromeDriver's time.
    """

    def __init__(
        self,
        queues: Mapping[str, CommandQueue],
        policy: access.AccessPolicy,
        gate_is_open: Callable[[], bool],
        observe: Callable[[float], None],
    ) -> None:
        self._queues = queues
        self._policy = policy
        self._gate_is_open = gate_is_open
        self._observe = observe

    def begin(self, scope: Scope, body: bytes) -> DirectCommand | None:
        """Send a command without a query whose body is complete; None if the application has to do it."""
        target = read_target(scope["raw_path"])
        named = COMMAND.fullmatch(target.path)
        if named is None or target.host is not None or target.refusal is not None:
            return None
        method, command = scope["method"], named["command"]
        is_own = command in file_commands.COMMANDS or (method == "POST" and command in _NOTED)
        queue = self._queues.get(named["session_id"])
        if queue is None or is_own or method not in _METHODS or not self._gate_is_open():
            return None
        if access.refusal(head_of({**scope, "path": target.path}), self._policy) is not None:
            return None
        try:
            begun = queue.begin(method, command, body)
        except SessionNotFound:
            return None
        return DirectCommand(queue, begun, self._observe) if begun is not None else None
