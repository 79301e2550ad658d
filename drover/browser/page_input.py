"""Input by hand as the parameters of Chrome's `Input.dispatchKeyEvent` and `Input.dispatchMouseEvent`.

Chrome takes Windows' virtual key codes, whatever system it runs on. It inserts a key's character only if no
modifier would make a shortcut of it, so a character that was typed with Alt or AltGr is sent without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Parameters = dict[str, object]

_MODIFIER_BITS = {"alt": 1, "control": 2, "ctrl": 2, "meta": 4, "shift": 8}
ALT, CONTROL, META = 1, 2, 4
BUTTON_BITS = {"none": 0, "left": 1, "right": 2, "middle": 4, "back": 8, "forward": 16}

_BY_CODE: Mapping[str, int] = {
    **{f"Key{letter}": ord(letter) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{f"Digit{digit}": ord(str(digit)) for digit in range(10)},
    **{f"Numpad{digit}": 96 + digit for digit in range(10)},
    "NumpadMultiply": 106,
    "NumpadAdd": 107,
    "NumpadSubtract": 109,
    "NumpadDecimal": 110,
    "NumpadDivide": 111,
    "NumpadEnter": 13,
    "Semicolon": 186,
    "Equal": 187,
    "Comma": 188,
    "Minus": 189,
    "Period": 190,
    "Slash": 191,
    "Backquote": 192,
    "BracketLeft": 219,
    "Backslash": 220,
    "BracketRight": 221,
    "Quote": 222,
    "IntlBackslash": 226,
}
_BY_KEY: Mapping[str, int] = {
    **{f"F{number}": 111 + number for number in range(1, 25)},
    "Backspace": 8,
    "Tab": 9,
    "Clear": 12,
    "Enter": 13,
    "Shift": 16,
    "Control": 17,
    "Alt": 18,
    "AltGraph": 18,
    "Pause": 19,
    "CapsLock": 20,
    "Escape": 27,
    " ": 32,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "PrintScreen": 44,
    "Insert": 45,
    "Delete": 46,
    "Meta": 91,
    "ContextMenu": 93,
    "NumLock": 144,
    "ScrollLock": 145,
}
_EDITING = {"a": "selectAll", "c": "copy", "v": "paste", "x": "cut", "y": "redo", "z": "undo"}
"""Blink knows these shortcuts on Linux and Windows with Control, on macOS only through the menu."""


def modifier_bits(names: Iterable[str]) -> int:
    """Return Chrome's bit field for modifiers by their lower-case names; others count as none."""
    bits = 0
    for name in names:
        bits |= _MODIFIER_BITS.get(name, 0)
    return bits


def mouse_event(
    action: str, at: tuple[float, float], button: str, clicks: int, held: int, modifiers: int
) -> Parameters:
    """Return the parameters for a mouse that moves, or a button that goes down or up.

    Args:
        action: `move`, `down` or `up`.
        at: The place in CSS pixels.
        clicks: 2 for the second press of a double click.
        held: The bits of the buttons that are down afterwards.
        modifiers: Chrome's bit field.
    """
    kind = {"move": "mouseMoved", "down": "mousePressed", "up": "mouseReleased"}[action]
    moving = action == "move"
    return {
        "type": kind,
        "x": at[0],
        "y": at[1],
        # While a button is held Chrome expects it at every move, or there is no drag.
        "button": _first_of(held) if moving else button,
        "buttons": held,
        "clickCount": 0 if moving else clicks,
        "modifiers": modifiers,
    }


def wheel_event(at: tuple[float, float], by: tuple[float, float], held: int, modifiers: int) -> Parameters:
    """Return the parameters for a wheel that was turned by so many CSS pixels."""
    place = {"type": "mouseWheel", "x": at[0], "y": at[1], "deltaX": by[0], "deltaY": by[1]}
    return {**place, "buttons": held, "modifiers": modifiers}


def key_event(action: str, key: str, code: str, modifiers: int, *, repeated: bool = False) -> Parameters:
    """Return the parameters for a key that goes down or up.

    Args:
        action: `down` or `up`.
        key: What it means on the person's keyboard layout, as `KeyboardEvent.key`.
        code: Where it is on the keyboard, as `KeyboardEvent.code`; empty if that is not known.
        modifiers: Chrome's bit field.
    """
    text = _text(key, modifiers)
    if text and not _is_plain(key):
        modifiers &= ~(ALT | CONTROL)
    event: Parameters = {
        "type": "keyUp" if action == "up" else "keyDown" if text else "rawKeyDown",
        "key": key,
        "code": code,
        "windowsVirtualKeyCode": virtual_key_code(key, code),
        "modifiers": modifiers,
        "autoRepeat": repeated,
        "isKeypad": code.startswith("Numpad"),
        "location": _location(code),
    }
    if action == "down" and text:
        event |= {"text": text, "unmodifiedText": text}
    command = _EDITING.get(key.lower())
    if action == "down" and command and modifiers & (CONTROL | META) and not modifiers & ALT:
        redo = command == "undo" and modifiers & _MODIFIER_BITS["shift"]
        event["commands"] = ["redo" if redo else command]
    return event


def virtual_key_code(key: str, code: str) -> int:
    """Return Windows' virtual key code of a key; 0 if it has none.

    Letters count by what they mean, so that Ctrl+A is that key on every layout; others by their place.
    """
    if len(key) == 1 and key.isascii() and key.isalpha():
        return ord(key.upper())
    if code.startswith("Numpad") and code in _BY_CODE:
        return _BY_CODE[code]
    if key in _BY_KEY:
        return _BY_KEY[key]
    if code in _BY_CODE:
        return _BY_CODE[code]
    return ord(key) if len(key) == 1 and key.isascii() and key.isdigit() else 0


def _text(key: str, modifiers: int) -> str:
    """Return what a key inserts; empty if nothing, as with a shortcut."""
    if key == "Enter":
        return "\r"
    if len(key) != 1 or modifiers & META:
        return ""
    # AltGr is reported as Control and Alt on Windows, and Option on a Mac as Alt.
    if modifiers & (ALT | CONTROL) and (_is_plain(key) or modifiers & (ALT | CONTROL) == CONTROL):
        return ""
    return key


def _is_plain(key: str) -> bool:
    """Return whether a key has a meaning with Control or Alt on most layouts."""
    return len(key) > 1 or key == " " or (key.isascii() and key.isalnum())


def _location(code: str) -> int:
    """Return which of several keys it is, as `KeyboardEvent.location`: 1 left, 2 right, 3 number pad."""
    if code.startswith("Numpad"):
        return 3
    if not code.startswith(("Alt", "Control", "Meta", "Shift")):
        return 0
    return 2 if code.endswith("Right") else 1


def _first_of(held: int) -> str:
    return next((name for name, bit in BUTTON_BITS.items() if bit & held), "none")
