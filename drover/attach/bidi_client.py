"""What a BiDi client has set up in a ChromeDriver, so that it can be set up again in the next one (pure).

Subscriptions and preload scripts live in ChromeDriver only. Their commands are kept, and sent again with
numbers of ours; the ids that the client knows are translated afterwards. Nothing else is sent again: an
intercept of the network, for instance, would stop every request until a client answers it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_PARSED = 64 * 1024
"""A longer message is neither kept nor translated."""
MAX_KEPT = 256 * 1024
"""Characters that are kept of one client's commands; later ones are not sent again."""
FIRST_REPLAY = 2**52
"""The first number of our own commands; the standard allows numbers below 2**53, and clients count from 0."""
# ChromeDriver writes the fields of a message in alphabetical order, without spaces.
_LOG_ENTRY = '{"method":"log.entryAdded"'
_NUMBER = re.compile(r'\{\s*"id"\s*:\s*(\d+)')


@dataclass(frozen=True, slots=True)
class _Kind:
    """A command that sets something up, the id in its result, and the command that undoes it by that id."""

    method: str
    result: str
    undo: str
    parameter: str


_KINDS = (
    _Kind("session.subscribe", "subscription", "session.unsubscribe", "subscriptions"),
    _Kind("script.addPreloadScript", "script", "script.removePreloadScript", "script"),
)
_SET_UP = {kind.method: kind for kind in _KINDS}
_UNDO = {kind.undo: kind for kind in _KINDS}


@dataclass(slots=True)
class _Kept:
    """A command that has succeeded: its kind, parameters, and the id that ChromeDriver gave last."""

    kind: _Kind
    parameters: Mapping[str, Any]
    current: str


class BidiClient:
    """The commands of one client that are in flight or have to be sent again; one thread uses it."""

    def __init__(self) -> None:
        self._in_flight: dict[int, Mapping[str, Any]] = {}
        self._kept: dict[str, _Kept] = {}
        self._replayed: dict[int, str] = {}
        self._next = FIRST_REPLAY
        self._last_entry = self._heard_before = -1.0

    def sends(self, message: str | bytes) -> str | bytes:
        """Take note of a message of the client; return it with the ids that ChromeDriver knows now."""
        command = _parsed(message)
        number = command.get("id")
        if not isinstance(number, int):
            return message
        method, parameters = command.get("method"), command.get("params")
        if not isinstance(parameters, dict) or (method not in _SET_UP and method not in _UNDO):
            self._in_flight[number] = {}
            return message
        self._in_flight[number] = command
        if method in _SET_UP:
            return message
        translated = self._translated(parameters, _UNDO[method].parameter)
        return message if translated == parameters else json.dumps({**command, "params": translated})

    def receives(self, message: str | bytes) -> str | bytes | None:
        """Take note of a message of ChromeDriver; return it, or None if it answers a command of ours."""
        if isinstance(message, str) and message.startswith(_LOG_ENTRY):
            return message if self._is_new_entry(_parsed(message)) else None
        if not self._in_flight and not self._replayed:
            return message
        number = _number_of(message)
        if number is None:
            return message
        if number in self._replayed:
            self._replay_answered(self._replayed.pop(number), _parsed(message))
            return None
        command = self._in_flight.pop(number, None)
        if command:
            self._answered(command, _parsed(message))
        return message

    def replay(self) -> list[str]:
        """Return the commands for a new ChromeDriver; their answers are not for the client."""
        messages = []
        for known, kept in self._kept.items():
            self._replayed[self._next] = known
            content = {"id": self._next, "method": kept.kind.method, "params": kept.parameters}
            messages.append(json.dumps(content))
            self._next += 1
        return messages

    def interrupted(self) -> list[str]:
        """Return an error for each command that ChromeDriver will not answer any more."""
        numbers, self._in_flight = tuple(self._in_flight), {}
        self._heard_before = self._last_entry
        self._replayed.clear()
        return [
            json.dumps({"type": "error", "id": number, "error": "unknown error", "message": _INTERRUPTED})
            for number in numbers
        ]

    def _is_new_entry(self, event: Mapping[str, Any]) -> bool:
        """Return whether a line of a console is new; a new ChromeDriver reports those of the past again."""
        at = event.get("params", {}).get("timestamp")
        if not isinstance(at, (int, float)):
            return True
        self._last_entry = max(self._last_entry, at)
        return at > self._heard_before

    def _answered(self, command: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        result = answer.get("result")
        if not isinstance(result, dict):
            return
        method, parameters = command["method"], command["params"]
        if method in _SET_UP:
            kind = _SET_UP[method]
            if isinstance(result.get(kind.result), str) and self._has_room(parameters):
                self._kept[result[kind.result]] = _Kept(kind, parameters, result[kind.result])
        elif _UNDO[method].parameter in parameters:
            ended = self._translated(parameters, _UNDO[method].parameter)[_UNDO[method].parameter]
            ended = ended if isinstance(ended, list) else [ended]
            self._kept = {known: one for known, one in self._kept.items() if one.current not in ended}
        else:
            self._unsubscribe(parameters)

    def _unsubscribe(self, parameters: Mapping[str, Any]) -> None:
        """Remove events that were unsubscribed by their names."""
        events = parameters.get("events")
        if not isinstance(events, list) or parameters.get("contexts"):
            return
        for known, kept in tuple(self._kept.items()):
            left = [event for event in kept.parameters.get("events", ()) if event not in events]
            if kept.kind is _KINDS[0] and not left:
                del self._kept[known]
            elif kept.kind is _KINDS[0]:
                kept.parameters = {**kept.parameters, "events": left}

    def _replay_answered(self, known: str, answer: Mapping[str, Any]) -> None:
        kept = self._kept.get(known)
        if kept is None:
            return
        result = answer.get("result")
        if isinstance(result, dict) and isinstance(result.get(kept.kind.result), str):
            kept.current = result[kept.kind.result]
        else:
            # Its page or its user context is gone.
            del self._kept[known]

    def _translated(self, parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return parameters with each id that the client knows replaced by the current one."""
        given = parameters.get(name)
        if isinstance(given, list):
            return {**parameters, name: [self._current(one) for one in given]}
        return {**parameters, name: self._current(given)} if name in parameters else dict(parameters)

    def _current(self, known: object) -> object:
        kept = self._kept.get(known) if isinstance(known, str) else None
        return known if kept is None else kept.current

    def _has_room(self, parameters: Mapping[str, Any]) -> bool:
        sizes = (len(json.dumps(kept.parameters)) for kept in self._kept.values())
        return sum(sizes) + len(json.dumps(parameters)) <= MAX_KEPT


_INTERRUPTED = "ChromeDriver ended while this command ran and was replaced; the command was not repeated."


def _parsed(message: str | bytes) -> Mapping[str, Any]:
    if len(message) > MAX_PARSED:
        return {}
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        # ChromeDriver answers a malformed message.
        return {}
    return content if isinstance(content, dict) else {}


def _number_of(message: str | bytes) -> int | None:
    """Return the number of the command that a message answers; None for an event."""
    if len(message) <= MAX_PARSED:
        number = _parsed(message).get("id")
        return number if isinstance(number, int) else None
    found = _NUMBER.match(message) if isinstance(message, str) else None
    return int(found[1]) if found else None
