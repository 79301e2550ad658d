"""Messages that clients of `/sessions/{id}/view` send: input for the page, and who is in control."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from drover.api.session_requests import Url
from drover.api.validation import Strict, explained
from drover.core.errors import InvalidRequest

MAX_TEXT = 1024 * 1024
MAX_FILES = 32
MAX_NAME = 64
_FURTHEST = 100_000.0
_BUTTONS = ("left", "middle", "right", "back", "forward")
_MODIFIERS = frozenset({"alt", "altgraph", "capslock", "control", "ctrl", "meta", "numlock", "shift"})


def _modifiers(names: list[str]) -> list[str]:
    unknown = [name for name in names if name.lower() not in _MODIFIERS]
    if unknown:
        raise ValueError(f"unknown modifier {unknown[0]!r}; use Alt, Control, Meta or Shift")
    return [name.lower() for name in names]


def _button(button: object) -> object:
    if isinstance(button, int) and 0 <= button < len(_BUTTONS):
        return _BUTTONS[button]
    if button not in (*_BUTTONS, "none"):
        raise ValueError(f"use {', '.join(_BUTTONS)}, or the number of one")
    return button


Modifiers = Annotated[list[str], AfterValidator(_modifiers), Field(default_factory=list, max_length=8)]
Pixels = Annotated[float, Field(ge=-_FURTHEST, le=_FURTHEST)]
Button = Annotated[str, BeforeValidator(_button)]


class ViewQuery(Strict):
    """Query parameters of a view."""

    view_only: bool = False
    """Refuse input."""
    name: Annotated[str, Field(max_length=MAX_NAME)] = ""
    """Name that other viewers see while this one is in control; default: the name of Basic authentication."""
    token: str | None = None
    """Token, for clients that cannot set headers on a WebSocket."""


class MouseInput(Strict):
    """The mouse was moved, pressed, released, or its wheel was turned; all lengths in CSS pixels."""

    type: Literal["mouse"]
    action: Literal["move", "down", "up", "wheel"]
    x: Pixels
    y: Pixels
    button: Button = "left"
    """Its name, or its number as in JavaScript's `MouseEvent.button`."""
    clicks: Annotated[int, Field(ge=0, le=3)] = 1
    """2 for the second press of a double click."""
    dx: Pixels = 0.0
    dy: Pixels = 0.0
    modifiers: Modifiers


class KeyInput(Strict):
    """A key was pressed or released; `key` and `code` as in JavaScript's `KeyboardEvent`."""

    type: Literal["key"]
    action: Literal["down", "up"]
    key: Annotated[str, Field(min_length=1, max_length=32)]
    code: Annotated[str, Field(max_length=32)] = ""
    modifiers: Modifiers


class TextInput(Strict):
    """Text that was composed or pasted; for pasted text the page gets a `paste` event first."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_TEXT)]
    pasted: bool = False


class NavigateInput(Strict):
    """An address to open; http or https."""

    type: Literal["navigate"]
    url: Url


class HistoryInput(Strict):
    """One step in the history of the page, or a reload."""

    type: Literal["back", "forward", "reload"]


class DialogInput(Strict):
    """The answer to the dialog that is open in the page."""

    type: Literal["dialog"]
    accept: bool
    text: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    """What to enter into a prompt; its default if this is missing."""


class SelectInput(Strict):
    """The option to choose from the announced list; null leaves it as it is."""

    type: Literal["select"]
    index: Annotated[int, Field(ge=0)] | None


class File(Strict):
    """One file for the page: its name and its content in base64."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    content: str


class FilesInput(Strict):
    """The files that the page has asked for; none cancels."""

    type: Literal["files"]
    files: Annotated[list[File], Field(max_length=MAX_FILES)]


class CopyInput(Strict):
    """A request for the text that is selected in the page."""

    type: Literal["copy"]


class ControlInput(Strict):
    """Takes or keeps control, or gives it back."""

    type: Literal["control"]
    take: bool


ViewInput: TypeAlias = (
    MouseInput
    | KeyInput
    | TextInput
    | NavigateInput
    | HistoryInput
    | DialogInput
    | SelectInput
    | FilesInput
    | CopyInput
    | ControlInput
)

_INPUT: TypeAdapter[ViewInput] = TypeAdapter(
    Annotated[ViewInput, Field(discriminator="type")], config=ConfigDict(defer_build=True)
)


def read_view_input(text: str | None) -> ViewInput:
    """Return a client's message.

    Raises:
        InvalidRequest: It is not one of these messages; the error names the field.
    """
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise InvalidRequest('Send each message as a JSON text, such as {"type": "reload"}') from error
    try:
        return _INPUT.validate_python(content, strict=True)
    except ValidationError as error:
        raise explained(error, "field") from error
