"""What a client has set in ChromeDriver is kept by a closed list, and undone by the commands that undo it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drover.browser.driver_state import (
    MAX_OVERRIDES,
    NETWORK,
    NO_DRIVER_STATE,
    DriverState,
    Override,
    Refusal,
    after,
    frame_of,
    is_noted,
    of_new_browser,
    refusal,
    translated,
)

CDP = "/goog/cdp/execute"


def cdp(
    state: DriverState, method: str, value: object = None, window: str | None = "A", **params: object
) -> DriverState:
    return after(state, "POST", CDP, {"cmd": method, "params": params}, value, window)


def sent_again(state: DriverState) -> list[tuple[str | None, str, Any]]:
    bodies = [(one.window, json.loads(one.body)) for one in state.overrides]
    return [(window, body["cmd"], body["params"]) for window, body in bodies]


def test_the_last_value_of_each_method_and_tab_is_kept() -> None:
    state = cdp(NO_DRIVER_STATE, "Emulation.setTimezoneOverride", timezoneId="UTC")
    state = cdp(state, "Network.setExtraHTTPHeaders", headers={"a": "1"})
    state = cdp(state, "Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    state = cdp(state, "Emulation.setTimezoneOverride", window="B", timezoneId="UTC")
    assert sent_again(state) == [
        ("A", "Network.setExtraHTTPHeaders", {"headers": {"a": "1"}}),
        ("A", "Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"}),
        ("B", "Emulation.setTimezoneOverride", {"timezoneId": "UTC"}),
    ]


def test_a_clear_removes_its_override() -> None:
    state = cdp(NO_DRIVER_STATE, "Emulation.setDeviceMetricsOverride", width=1)
    state = cdp(state, "Emulation.setGeolocationOverride", latitude=1)
    state = cdp(state, "Emulation.clearDeviceMetricsOverride")
    assert [method for _, method, _ in sent_again(state)] == ["Emulation.setGeolocationOverride"]


def test_permissions_are_kept_per_origin_and_reset_together() -> None:
    state = cdp(NO_DRIVER_STATE, "Browser.grantPermissions", origin="https://a", permissions=["midi"])
    state = cdp(state, "Browser.grantPermissions", origin="https://b", permissions=["midi"])
    state = cdp(state, "Browser.grantPermissions", origin="https://a", permissions=[])
    assert [(window, params["origin"]) for window, _, params in sent_again(state)] == [
        (None, "https://b"),
        (None, "https://a"),
    ]
    assert cdp(state, "Browser.resetPermissions").overrides == ()


def test_scripts_are_removed_by_the_identifier_that_the_client_knows() -> None:
    add, remove = "Page.addScriptToEvaluateOnNewDocument", "Page.removeScriptToEvaluateOnNewDocument"
    state = cdp(NO_DRIVER_STATE, add, {"identifier": "1"}, source="1")
    state = cdp(state, add, {"identifier": "2"}, source="2")
    renumbered = DriverState(
        overrides=tuple(
            Override(one.window, one.key, one.path, one.body, one.known, f"new-{one.known}")
            for one in state.overrides
        )
    )
    body = json.dumps({"cmd": remove, "params": {"identifier": "2"}}).encode()
    assert json.loads(translated(renumbered, CDP, body))["params"] == {"identifier": "new-2"}
    assert translated(state, CDP, body) == body
    assert translated(renumbered, "/execute/sync", body) == body
    left = cdp(renumbered, remove, identifier="2")
    assert [params for _, _, params in sent_again(left)] == [{"source": "1"}]


@pytest.mark.parametrize(
    "method",
    [
        "Fetch.enable",
        "Debugger.enable",
        "Emulation.setVirtualTimePolicy",
        "Page.setInterceptFileChooserDialog",
    ],
)
def test_what_would_hang_or_is_unknown_is_never_sent_again_but_named(method: str) -> None:
    state = cdp(NO_DRIVER_STATE, method, policy="pause")
    assert state.overrides == ()
    assert state.not_set_again == (f"cdp:{method}",)


@pytest.mark.parametrize(
    "method", ["Page.navigate", "Input.dispatchKeyEvent", "Runtime.evaluate", "Page.reload"]
)
def test_commands_that_set_nothing_are_not_kept(method: str) -> None:
    assert cdp(NO_DRIVER_STATE, method) == NO_DRIVER_STATE


def test_network_conditions_and_authenticators_are_known() -> None:
    body = {"network_conditions": {"offline": True}}
    state = after(NO_DRIVER_STATE, "POST", "/chromium/network_conditions", body, None, None)
    assert [(one.path, json.loads(one.body)) for one in state.overrides] == [
        ("/chromium/network_conditions", body)
    ]
    assert after(state, "DELETE", "/chromium/network_conditions", {}, None, None).overrides == ()
    state = after(NO_DRIVER_STATE, "POST", "/webauthn/authenticator", {}, "id", None)
    assert state.not_set_again == ("virtual_authenticators",)


def test_what_is_kept_has_a_limit() -> None:
    state = NO_DRIVER_STATE
    for number in range(10):
        source = "x" * (MAX_OVERRIDES // 4)
        state = cdp(
            state, "Page.addScriptToEvaluateOnNewDocument", {"identifier": str(number)}, source=source
        )
    assert sum(len(one.body) for one in state.overrides) <= MAX_OVERRIDES
    assert state.not_set_again == ("cdp:Page.addScriptToEvaluateOnNewDocument",)


def test_the_frame_is_the_chain_of_choices_since_the_top() -> None:
    element = {"element-6066-11e4-a52e-4f735466cecf": "f.F.d.D.e.1"}
    state = after(NO_DRIVER_STATE, "POST", "/frame", {"id": element}, None, "A")
    state = after(state, "POST", "/frame", {"id": 0}, None, "A")
    assert state.frame == (json.dumps(element), "0")
    assert after(state, "POST", "/frame/parent", {}, None, "A").frame == (json.dumps(element),)
    for command, body in (("/frame", {"id": None}), ("/url", {"url": "x"}), ("/window", {"handle": "B"})):
        assert is_noted("POST", command, state)
        assert after(state, "POST", command, body, None, "A").frame == ()
    assert not is_noted("POST", "/url", NO_DRIVER_STATE)
    for command in ("/window", "/timeouts"):
        assert is_noted("POST", command, NO_DRIVER_STATE)
        assert not is_noted("GET", command, state)
    assert frame_of(element) == "F"
    assert frame_of(None) is None


def test_commands_that_depend_on_a_lost_frame_are_refused_until_the_client_chooses() -> None:
    lost = DriverState(frame_lost=True)
    for command in ("/element", "/elements", "/element/x/click", "/execute/sync", "/source", "/frame/parent"):
        assert refusal(lost, "POST", command, b"{}") is Refusal.FRAME
        assert refusal(NO_DRIVER_STATE, "POST", command, b"{}") is None
    assert refusal(lost, "POST", "/frame", b'{"id": 0}') is Refusal.FRAME
    for command in ("/url", "/title", "/window", "/window/handles", "/timeouts", "/screenshot"):
        assert refusal(lost, "POST", command, b"") is None
    assert refusal(lost, "POST", "/frame", b'{"id": null}') is None
    assert not after(lost, "POST", "/frame", {"id": None}, None, "A").frame_lost


def test_a_new_browser_has_nothing_of_it_and_all_is_named() -> None:
    state = cdp(DriverState(frame=("0",), not_set_again=("cdp:Fetch.enable",)), "Network.setCacheDisabled")
    state = after(state, "POST", NETWORK, {"network_conditions": {"offline": True}}, None, "A")
    assert of_new_browser(state) == (
        DriverState(frame_lost=True),
        ("cdp:Fetch.enable", "cdp:Network.setCacheDisabled", "network_conditions", "frame"),
    )
    assert of_new_browser(NO_DRIVER_STATE) == (NO_DRIVER_STATE, ())


def test_commands_in_a_closed_window_are_refused_until_the_client_chooses() -> None:
    lost = DriverState(window_lost=True)
    for method, command in (("GET", "/title"), ("POST", "/url"), ("DELETE", "/window"), ("GET", "/window")):
        assert refusal(lost, method, command, b"{}") is Refusal.WINDOW
    for method, command in (
        ("POST", "/window"),
        ("GET", "/window/handles"),
        ("POST", "/window/new"),
        ("GET", "/timeouts"),
    ):
        assert refusal(lost, method, command, b"{}") is None
    assert not after(lost, "POST", "/window", {"handle": "B"}, None, "B").window_lost


def perform(*sources: tuple[str, dict[str, object]]) -> bytes:
    actions = [{"type": kind, "actions": [{"type": "pause"}, first]} for kind, first in sources]
    return json.dumps({"actions": actions}).encode()


def test_actions_that_depend_on_lost_input_are_refused_until_the_client_begins_anew() -> None:
    assert is_noted("POST", "/actions", NO_DRIVER_STATE)
    moved = after(NO_DRIVER_STATE, "POST", "/actions", {}, None, "A")
    assert not is_noted("POST", "/actions", moved)
    assert after(moved, "DELETE", "/actions", {}, None, "A") == NO_DRIVER_STATE
    lost, names = of_new_browser(moved)
    assert names == ("actions",)
    continued: tuple[dict[str, object], ...] = (
        {"type": "pointerDown"},
        {"type": "keyUp", "value": "a"},
        {"type": "pointerMove", "origin": "pointer", "x": 1, "y": 0},
    )
    for first in continued:
        assert refusal(lost, "POST", "/actions", perform(("pointer", first))) is Refusal.ACTIONS
    typed = perform(("pointer", {"type": "pause"}), ("key", {"type": "keyDown", "value": "a"}))
    for body in (perform(("pointer", {"type": "pointerMove", "x": 1, "y": 1})), typed, b"", b"[]"):
        assert refusal(lost, "POST", "/actions", body) is None
    assert refusal(lost, "DELETE", "/actions", b"") is None
    for method in ("POST", "DELETE"):
        assert is_noted(method, "/actions", lost)
        assert not after(lost, method, "/actions", {}, None, "A").input_lost


def test_settings_of_other_standards_are_kept_and_ended() -> None:
    state = NO_DRIVER_STATE
    for command, body in (
        ("/time_zone", {"time_zone": "UTC"}),
        ("/time_zone", {"time_zone": "Asia/Tokyo"}),
        ("/sensor", {"type": "ambient-light"}),
        ("/sensor/ambient-light", {"reading": {"illuminance": 1}}),
        ("/sensor/ambient-light", {"reading": {"illuminance": 2}}),
        ("/permissions", {"descriptor": {"name": "geolocation"}, "state": "granted"}),
    ):
        assert is_noted("POST", command, state)
        state = after(state, "POST", command, body, None, "A")
    assert [(one.window, one.path, json.loads(one.body)) for one in state.overrides] == [
        ("A", "/time_zone", {"time_zone": "Asia/Tokyo"}),
        ("A", "/sensor", {"type": "ambient-light"}),
        ("A", "/sensor/ambient-light", {"reading": {"illuminance": 2}}),
    ]
    assert of_new_browser(state)[1] == ("permissions", "time_zone", "sensor")
    ended = after(state, "DELETE", "/sensor/ambient-light", {}, None, "A")
    assert [one.path for one in ended.overrides] == ["/time_zone"]
