"""Keys and mouse as Chrome expects them."""

from __future__ import annotations

import pytest

from drover.browser.page_input import (
    BUTTON_BITS,
    key_event,
    modifier_bits,
    mouse_event,
    virtual_key_code,
    wheel_event,
)

ALT, CONTROL, META, SHIFT = 1, 2, 4, 8


@pytest.mark.parametrize(
    ("key", "code", "modifiers", "text", "sent_modifiers"),
    [
        ("a", "KeyA", 0, "a", 0),
        ("A", "KeyA", SHIFT, "A", SHIFT),
        ("é", "Digit2", 0, "é", 0),
        ("ß", "KeyS", ALT, "ß", 0),
        ("@", "KeyQ", ALT | CONTROL, "@", 0),
        ("€", "KeyE", 0, "€", 0),
        ("日", "", 0, "日", 0),
        ("Enter", "NumpadEnter", 0, "\r", 0),
        ("a", "KeyA", CONTROL, None, CONTROL),
        ("+", "BracketRight", CONTROL, None, CONTROL),
        ("d", "KeyD", ALT, None, ALT),
        ("é", "Digit2", META, None, META),
        ("Tab", "Tab", 0, None, 0),
        ("ArrowLeft", "ArrowLeft", SHIFT, None, SHIFT),
    ],
)
def test_a_key_inserts_its_character_unless_it_is_a_shortcut(
    key: str, code: str, modifiers: int, text: str | None, sent_modifiers: int
) -> None:
    event = key_event("down", key, code, modifiers)
    assert event.get("text") == text
    assert event["type"] == ("rawKeyDown" if text is None else "keyDown")
    assert event["modifiers"] == sent_modifiers
    up = key_event("up", key, code, modifiers)
    assert (up["type"], "text" in up, "commands" in up) == ("keyUp", False, False)


@pytest.mark.parametrize(
    ("key", "modifiers", "commands"),
    [
        ("a", META, ["selectAll"]),
        ("A", CONTROL, ["selectAll"]),
        ("z", META, ["undo"]),
        ("Z", META | SHIFT, ["redo"]),
        ("z", 0, None),
        ("z", CONTROL | ALT, None),
        ("b", META, None),
    ],
)
def test_editing_shortcuts_work_on_every_system(key: str, modifiers: int, commands: list[str] | None) -> None:
    assert key_event("down", key, f"Key{key.upper()}", modifiers).get("commands") == commands


@pytest.mark.parametrize(
    ("key", "code", "number"),
    [
        ("a", "KeyQ", 65),
        ("é", "Digit2", 50),
        ("ß", "Minus", 189),
        ("F12", "F12", 123),
        ("Enter", "Enter", 13),
        ("7", "Numpad7", 103),
        ("7", "", 55),
        ("日", "", 0),
    ],
)
def test_a_letter_has_the_key_code_of_its_meaning_and_other_keys_that_of_their_place(
    key: str, code: str, number: int
) -> None:
    assert virtual_key_code(key, code) == number


@pytest.mark.parametrize(
    ("code", "location"),
    [("ShiftLeft", 1), ("ControlRight", 2), ("Numpad1", 3), ("ArrowLeft", 0), ("BracketRight", 0)],
)
def test_a_key_has_its_location(code: str, location: int) -> None:
    assert key_event("down", "x", code, 0)["location"] == location


def test_modifiers_are_added_up_and_states_of_locks_are_none() -> None:
    assert modifier_bits(["alt", "control", "meta", "shift"]) == 15
    assert modifier_bits(["ctrl", "capslock", "altgraph"]) == CONTROL


def test_a_drag_has_its_button_at_every_move() -> None:
    moved = mouse_event("move", (1.5, 2), "none", 1, BUTTON_BITS["left"], SHIFT)
    assert moved == {
        "type": "mouseMoved",
        "x": 1.5,
        "y": 2,
        "button": "left",
        "buttons": 1,
        "clickCount": 0,
        "modifiers": SHIFT,
    }
    assert mouse_event("move", (1, 2), "left", 1, 0, 0)["button"] == "none"
    second = mouse_event("down", (1, 2), "left", 2, 1, 0)
    assert (second["type"], second["clickCount"]) == ("mousePressed", 2)
    assert mouse_event("up", (1, 2), "right", 1, 0, 0)["type"] == "mouseReleased"


def test_a_turned_wheel_has_its_way_in_pixels() -> None:
    event = wheel_event((1, 2), (0, 120), 0, 0)
    assert (event["type"], event["deltaX"], event["deltaY"]) == ("mouseWheel", 0, 120)
