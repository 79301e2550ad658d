"""What a client has set in ChromeDriver, so that a re-attach can set it again (pure).

The frame is the chain of the client's choices, which stay valid as long as their elements do. Overrides are
a closed list of commands: per tab, the last one of each method and key. What would hang or repeat something
(`Fetch.*`, `Debugger.*`, navigation, input, virtual time) is never sent again; its loss is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

MAX_OVERRIDES = 64 * 1024
"""Characters of all commands that are kept of one session; later ones are named as lost."""
MAX_NAMES = 32
CDP = "/goog/cdp/execute"
NETWORK = "/chromium/network_conditions"
CDP_PATHS = frozenset({CDP, "/chromium/send_command", "/chromium/send_command_and_get_result"})
LOST_FRAME, LOST_AUTHENTICATORS, LOST_NETWORK = "frame", "virtual_authenticators", "network_conditions"
_ADD_SCRIPT = "Page.addScriptToEvaluateOnNewDocument"
_REMOVE_SCRIPT = "Page.removeScriptToEvaluateOnNewDocument"
_RESET_PERMISSIONS = "Browser.resetPermissions"
_SET_AGAIN = re.compile(
    r"Emulation\.(?:set\w+Override|setTouchEmulationEnabled|setEmitTouchEventsForMouse|setEmulatedMedia"
    r"|setEmulatedVisionDeficiency)"
    r"|Network\.(?:enable|setUserAgentOverride|setExtraHTTPHeaders|setBlockedURLs|setCacheDisabled"
    r"|setBypassServiceWorker|emulateNetworkConditions)"
    r"|Browser\.(?:grantPermissions|setPermission)"
)
_CLEAR = re.compile(r"Emulation\.clear(?P<name>\w+Override)")
# Methods of DevTools that change what lives only in ChromeDriver's connection.
_STATEFUL = re.compile(r"\w+\.(?:enable|set\w+|add\w+|emulate\w+)")
_SETS_TOP = frozenset({"/url", "/back", "/forward", "/refresh", "/window"})
_CHANGES_STATE = CDP_PATHS | {"/frame", "/frame/parent", NETWORK, "/webauthn/authenticator"}
CHOOSES_WINDOW, SETS_TIMEOUTS = ("POST", "/window"), ("POST", "/timeouts")
_ALWAYS_NOTED = frozenset({CHOOSES_WINDOW, SETS_TIMEOUTS})
_NEEDS_FRAME = re.compile(
    r"/(?:frame|element|elements|shadow|execute|source|actions|cookie)(?:/.*)?", re.DOTALL
)
_FRAME_OF_ELEMENT = re.compile(r"f\.(?P<frame>[^.]+)\.")
FIND_ROOT = {"using": "css selector", "value": ":root"}
"""The arguments of Find Element whose answer names the current frame."""


@dataclass(frozen=True, slots=True)
class Override:
    """A command that is sent again.

    Attributes:
        window: The tab that it was sent to; None for the browser.
        key: What a later command must have in common with it to replace it.
        path: Its path after the session's id.
        body: Its body, as JSON.
        known: The identifier in its result that the client knows.
        current: The identifier that ChromeDriver gave it last.
    """

    window: str | None
    key: str
    path: str
    body: str
    known: str | None = None
    current: str | None = None


@dataclass(frozen=True, slots=True)
class DriverState:
    """What a client has set in ChromeDriver.

    Attributes:
        frame: The client's frame: the JSON of each choice since the top of the page.
        frame_id: DevTools' id of that frame; None if it is not known.
        frame_lost: The frame could not be chosen again; the client has to choose one.
        overrides: The commands that are sent again, the oldest first.
        not_set_again: The names of what cannot be set again.
    """

    frame: tuple[str, ...] = ()
    frame_id: str | None = None
    frame_lost: bool = False
    overrides: tuple[Override, ...] = ()
    not_set_again: tuple[str, ...] = ()

    def in_frame(self, frame_id: str | None) -> DriverState:
        """Return the state with the id of the client's frame."""
        return replace(self, frame_id=frame_id)


NO_DRIVER_STATE = DriverState()


def is_noted(method: str, command: str, state: DriverState) -> bool:
    """Return whether a command, once it has succeeded, may change what a recovery sets again."""
    if method == "GET":
        return False
    if (method, command) in _ALWAYS_NOTED or command in _CHANGES_STATE:
        return True
    return command in _SETS_TOP and bool(state.frame or state.frame_lost)


def after(
    state: DriverState, method: str, command: str, body: Mapping[str, Any], value: object, window: str | None
) -> DriverState:
    """Return the state after a command that has succeeded with this value, sent to this tab.

    After a choice of a frame `frame_id` is None: it has to be read (`FIND_ROOT`).
    """
    if command in _SETS_TOP:
        return replace(state, frame=(), frame_id=None, frame_lost=False)
    if command == "/frame":
        chosen = body.get("id")
        chain = () if chosen is None else (*state.frame, json.dumps(chosen))
        return replace(state, frame=chain, frame_id=None, frame_lost=False)
    if command == "/frame/parent":
        return replace(state, frame=state.frame[:-1], frame_id=None)
    if command == NETWORK:
        kept = Override(None, NETWORK, NETWORK, json.dumps(body)) if method == "POST" else None
        return _with(state, None, NETWORK, kept)
    if command in CDP_PATHS:
        return _after_cdp(state, body, value, window)
    return _unrestored(state, LOST_AUTHENTICATORS)


def of_new_browser(state: DriverState) -> tuple[DriverState, tuple[str, ...]]:
    """Return the state in a new browser, which has none of it, and the names of what is lost."""
    names = [*state.not_set_again, *(_name(one.key) for one in state.overrides)]
    if state.frame:
        names.append(LOST_FRAME)
    is_lost = bool(state.frame) or state.frame_lost
    return DriverState(frame_lost=is_lost), tuple(dict.fromkeys(names))


def frame_of(element: object) -> str | None:
    """Return the id of the frame that an element belongs to, from ChromeDriver's reference to it."""
    references = list(element.values()) if isinstance(element, dict) else []
    found = _FRAME_OF_ELEMENT.match(str(references[0])) if references else None
    return found["frame"] if found else None


def is_refused(state: DriverState, command: str, body: bytes) -> bool:
    """Return whether a command depends on the client's frame, which is lost."""
    if not state.frame_lost or _NEEDS_FRAME.fullmatch(command) is None:
        return False
    return command != "/frame" or not _chooses_top(body)


def translated(state: DriverState, command: str, body: bytes) -> bytes:
    """Return the body of a command with the identifier that ChromeDriver knows now."""
    if command not in CDP_PATHS or not any(one.known != one.current for one in state.overrides):
        return body
    sent = _object(body)
    parameters = sent.get("params")
    if sent.get("cmd") != _REMOVE_SCRIPT or not isinstance(parameters, dict):
        return body
    known = {one.known: one.current for one in state.overrides if one.known is not None}
    given = parameters.get("identifier")
    identifier = known.get(str(given), given)
    return json.dumps({**sent, "params": {**parameters, "identifier": identifier}}).encode()


def _after_cdp(state: DriverState, body: Mapping[str, Any], value: object, window: str | None) -> DriverState:
    method, parameters = str(body.get("cmd")), body.get("params")
    if not isinstance(parameters, dict):
        return state
    cleared = _CLEAR.fullmatch(method)
    if cleared is not None:
        return _with(state, window, f"Emulation.set{cleared['name']}", None)
    if method in {_REMOVE_SCRIPT, _RESET_PERMISSIONS}:
        left = [one for one in state.overrides if not _is_undone(one, method, parameters)]
        return replace(state, overrides=tuple(left))
    if method == _ADD_SCRIPT and isinstance(value, dict):
        identifier = str(value.get("identifier"))
        kept = Override(window, f"{method} {identifier}", CDP, _cdp(body), identifier, identifier)
        return _with(state, window, kept.key, kept)
    if _SET_AGAIN.fullmatch(method) is not None:
        of_browser = method.startswith("Browser.")
        parts = {name: parameters[name] for name in ("origin", "permission") if name in parameters}
        key = f"{method} {json.dumps(parts, sort_keys=True)}" if of_browser else method
        kept = Override(None if of_browser else window, key, CDP, _cdp(body))
        return _with(state, kept.window, key, kept)
    return _unrestored(state, _name(method)) if _STATEFUL.fullmatch(method) is not None else state


def _is_undone(one: Override, method: str, parameters: Mapping[str, Any]) -> bool:
    if method == _RESET_PERMISSIONS:
        return one.key.startswith("Browser.")
    return str(parameters.get("identifier")) in (one.known, one.current)


def _with(state: DriverState, window: str | None, key: str, kept: Override | None) -> DriverState:
    """Return the state with the last command of a key replaced, or removed if `kept` is None."""
    left = tuple(one for one in state.overrides if (one.window, one.key) != (window, key))
    if kept is None:
        return replace(state, overrides=left)
    if sum(len(one.body) for one in (*left, kept)) > MAX_OVERRIDES:
        return _unrestored(replace(state, overrides=left), _name(key))
    return replace(state, overrides=(*left, kept))


def _name(key: str) -> str:
    """Return how `lost` names what is kept under a key."""
    return LOST_NETWORK if key == NETWORK else f"cdp:{key.split(' ', maxsplit=1)[0]}"


def _unrestored(state: DriverState, name: str) -> DriverState:
    names = dict.fromkeys((*state.not_set_again, name[:100]))
    return replace(state, not_set_again=tuple(names)[:MAX_NAMES])


def _cdp(body: Mapping[str, Any]) -> str:
    return json.dumps({"cmd": body["cmd"], "params": body["params"]})


def _chooses_top(body: bytes) -> bool:
    sent = _object(body)
    return "id" in sent and sent["id"] is None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        # ChromeDriver answers a malformed command.
        return {}
    return content if isinstance(content, dict) else {}
