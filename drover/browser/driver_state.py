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
from enum import Enum
from typing import Any

from drover.browser.driver_settings import PERMISSIONS, is_setting, needs_earlier_input, setting_of

MAX_OVERRIDES = 64 * 1024
"""Characters of all commands that are kept of one session; later ones are named as lost."""
MAX_NAMES = 32
CDP = "/goog/cdp/execute"
NETWORK = "/chromium/network_conditions"
CDP_PATHS = frozenset({CDP, "/chromium/send_command", "/chromium/send_command_and_get_result"})
LOST_FRAME, LOST_AUTHENTICATORS, LOST_NETWORK = "frame", "virtual_authenticators", "network_conditions"
LOST_WINDOW, LOST_ACTIONS = "window", "actions"
ACTIONS = "/actions"
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
_AUTHENTICATOR = "/webauthn/authenticator"
_CHOOSES_FRAME = frozenset({"/frame", "/frame/parent"})
_CHANGES_STATE = CDP_PATHS | _CHOOSES_FRAME | {NETWORK, _AUTHENTICATOR, PERMISSIONS}
CHOOSES_WINDOW, SETS_TIMEOUTS = ("POST", "/window"), ("POST", "/timeouts")
_ALWAYS_NOTED = frozenset({CHOOSES_WINDOW, SETS_TIMEOUTS})
_NEEDS_FRAME = re.compile(
    r"/(?:frame|element|elements|shadow|execute|source|actions|cookie)(?:/.*)?", re.DOTALL
)
_NEEDS_NO_WINDOW = re.compile(r"/(?:window/handles|window/new|timeouts|log|se)(?:/.*)?", re.DOTALL)
_FRAME_OF_ELEMENT = re.compile(r"f\.(?P<frame>[^.]+)\.")
FIND_ROOT = {"using": "css selector", "value": ":root"}
"""The arguments of Find Element whose answer names the current frame."""


class Refusal(Enum):
    """Why a command is not sent: what it depends on was lost in a recovery."""

    FRAME = LOST_FRAME
    WINDOW = LOST_WINDOW
    ACTIONS = LOST_ACTIONS


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
        of_browser: The names of what only a new browser loses.
        window_lost: The client's window was closed; the client has to choose one.
        input_lost: Where the pointer was and what was pressed is lost; the client has to begin anew.
    """

    frame: tuple[str, ...] = ()
    frame_id: str | None = None
    frame_lost: bool = False
    overrides: tuple[Override, ...] = ()
    not_set_again: tuple[str, ...] = ()
    of_browser: tuple[str, ...] = ()
    window_lost: bool = False
    input_lost: bool = False


NO_DRIVER_STATE = DriverState()


def is_noted(method: str, command: str, state: DriverState) -> bool:
    """Return whether a command, once it has succeeded, may change what a recovery sets again."""
    if method == "GET":
        return False
    if (method, command) in _ALWAYS_NOTED or command in _CHANGES_STATE or is_setting(command):
        return True
    if command == ACTIONS:
        is_known = LOST_ACTIONS in state.not_set_again
        return state.input_lost or is_known is (method == "DELETE")
    return command in _SETS_TOP and bool(state.frame or state.frame_lost)


def after(
    state: DriverState, method: str, command: str, body: Mapping[str, Any], value: object, window: str | None
) -> DriverState:
    """Return the state after a command that has succeeded with this value, sent to this tab.

    After a choice of a frame `frame_id` is None: it has to be read (`FIND_ROOT`).
    """
    if command in _SETS_TOP or command in _CHOOSES_FRAME:
        return _after_choice(state, method, command, body)
    if command == ACTIONS:
        return _after_actions(state, method)
    if command in CDP_PATHS:
        return _after_cdp(state, body, value, window)
    return _after_setting(state, method, command, body, window)


def of_new_browser(state: DriverState) -> tuple[DriverState, tuple[str, ...]]:
    """Return the state in a new browser, which has none of it, and the names of what is lost."""
    names = [*state.not_set_again, *state.of_browser, *(lost_name(one.key) for one in state.overrides)]
    if state.frame:
        names.append(LOST_FRAME)
    is_lost = bool(state.frame) or state.frame_lost
    input_lost = state.input_lost or LOST_ACTIONS in state.not_set_again
    return DriverState(frame_lost=is_lost, input_lost=input_lost), tuple(dict.fromkeys(names))


def frame_of(element: object) -> str | None:
    """Return the id of the frame that an element belongs to, from ChromeDriver's reference to it."""
    references = list(element.values()) if isinstance(element, dict) else []
    found = _FRAME_OF_ELEMENT.match(str(references[0])) if references else None
    return found["frame"] if found else None


def refusal(state: DriverState, method: str, command: str, body: bytes) -> Refusal | None:
    """Return what a command depends on and what is lost: the client's window, its frame, its input."""
    if not (state.window_lost or state.frame_lost or state.input_lost):
        return None
    is_for_window = (method, command) != CHOOSES_WINDOW and _NEEDS_NO_WINDOW.fullmatch(command) is None
    if state.window_lost and is_for_window:
        return Refusal.WINDOW
    is_for_frame = _NEEDS_FRAME.fullmatch(command) is not None
    if state.frame_lost and is_for_frame and (command != "/frame" or not _chooses_top(body)):
        return Refusal.FRAME
    if state.input_lost and (method, command) == ("POST", ACTIONS) and needs_earlier_input(body):
        return Refusal.ACTIONS
    return None


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


def _after_choice(state: DriverState, method: str, command: str, body: Mapping[str, Any]) -> DriverState:
    if command in _SETS_TOP:
        is_lost = state.window_lost and (method, command) != CHOOSES_WINDOW
        return replace(state, frame=(), frame_id=None, frame_lost=False, window_lost=is_lost)
    if command == "/frame/parent":
        return replace(state, frame=state.frame[:-1], frame_id=None)
    chosen = body.get("id")
    chain = () if chosen is None else (*state.frame, json.dumps(chosen))
    return replace(state, frame=chain, frame_id=None, frame_lost=False)


def _after_actions(state: DriverState, method: str) -> DriverState:
    left = tuple(name for name in state.not_set_again if name != LOST_ACTIONS)
    begun = replace(state, input_lost=False, not_set_again=left)
    return begun if method == "DELETE" else _unrestored(begun, LOST_ACTIONS)


def _after_setting(
    state: DriverState, method: str, command: str, body: Mapping[str, Any], window: str | None
) -> DriverState:
    if command == NETWORK:
        kept = Override(None, NETWORK, NETWORK, json.dumps(body)) if method == "POST" else None
        return _with(state, None, NETWORK, kept)
    if command == PERMISSIONS:
        return replace(state, of_browser=_named(state.of_browser, lost_name(command)))
    if command == _AUTHENTICATOR:
        return _unrestored(state, LOST_AUTHENTICATORS)
    setting = setting_of(method, command, body)
    if setting is None:
        return state
    for key in setting.ends:
        state = _with(state, window, key, None)
    kept = Override(window, setting.key, command, json.dumps(body)) if setting.is_set else None
    return _with(state, window, setting.key, kept)


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
    return _unrestored(state, lost_name(method)) if _STATEFUL.fullmatch(method) is not None else state


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
        return _unrestored(replace(state, overrides=left), lost_name(key))
    return replace(state, overrides=(*left, kept))


def lost_name(key: str) -> str:
    """Return how `lost` names what is kept under a key: a method of DevTools, or the path of a command."""
    name = key.split(" ", maxsplit=1)[0]
    if name == NETWORK:
        return LOST_NETWORK
    return name.removeprefix("/") if name.startswith("/") else f"cdp:{name}"


def _unrestored(state: DriverState, name: str) -> DriverState:
    return replace(state, not_set_again=_named(state.not_set_again, name))


def _named(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, name[:100])))[:MAX_NAMES]


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
