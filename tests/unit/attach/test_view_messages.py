"""What clients of a view may send."""

from __future__ import annotations

import json

import pytest

from drover.api.view_messages import KeyInput, MouseInput, SelectInput, read_view_input
from drover.core.errors import InvalidRequest

PRESS = {"type": "mouse", "action": "down", "x": 1, "y": 2.5}


def test_a_press_has_the_left_button_and_no_modifier_by_default() -> None:
    given = read_view_input(json.dumps(PRESS))
    assert isinstance(given, MouseInput)
    assert (given.x, given.y, given.button, given.clicks, given.modifiers) == (1, 2.5, "left", 1, [])


@pytest.mark.parametrize(("button", "name"), [("right", "right"), (0, "left"), (1, "middle"), (2, "right")])
def test_a_button_is_a_name_or_its_number(button: object, name: str) -> None:
    given = read_view_input(json.dumps(PRESS | {"button": button}))
    assert isinstance(given, MouseInput)
    assert given.button == name


def test_modifiers_are_read_in_any_case() -> None:
    given = read_view_input('{"type": "key", "action": "up", "key": "a", "modifiers": ["Shift", "ALT"]}')
    assert isinstance(given, KeyInput)
    assert given.modifiers == ["shift", "alt"]


def test_a_list_may_be_left_as_it_is() -> None:
    assert read_view_input('{"type": "select", "index": null}') == SelectInput(type="select", index=None)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (None, "JSON"),
        ("", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "body"),
        ('{"type": "telepathy"}', "telepathy"),
        (json.dumps(PRESS | {"x": "1"}), "mouse.x"),
        (json.dumps(PRESS | {"x": 1e9}), "mouse.x"),
        ('{"type": "mouse", "action": "down", "x": NaN, "y": 1}', "mouse.x"),
        (json.dumps(PRESS | {"button": "thumb"}), "mouse.button"),
        (json.dumps(PRESS | {"button": 7}), "mouse.button"),
        (json.dumps(PRESS | {"modifiers": ["Hyper"]}), "Hyper"),
        (json.dumps(PRESS | {"pressure": 1}), "mouse.pressure: unknown field"),
        ('{"type": "navigate", "url": "file:///etc/passwd"}', "navigate.url"),
        ('{"type": "navigate", "url": "javascript:alert(1)"}', "navigate.url"),
        ('{"type": "key", "action": "down", "key": ""}', "key.key"),
    ],
)
def test_other_messages_are_refused_by_name(message: str | None, named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_view_input(message)
    assert named in refused.value.message
