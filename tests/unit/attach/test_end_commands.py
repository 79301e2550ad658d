"""The commands by which a client ends its session over a WebSocket or through ChromeDriver."""

from __future__ import annotations

import json

import pytest

from drover.attach.end_commands import MAX_END_COMMAND, bidi_end, cdp_end, closes_browser


@pytest.mark.parametrize("method", ["session.end", "browser.close"])
def test_bidi_ends_a_session_by_two_commands_and_gets_the_answer_of_the_standard(method: str) -> None:
    command = bidi_end(json.dumps({"id": 7, "method": method, "params": {}}))
    assert command is not None
    assert json.loads(command.success) == {"type": "success", "id": 7, "result": {}}
    assert json.loads(command.failure("no")) == {
        "type": "error",
        "id": 7,
        "error": "unknown error",
        "message": "no",
    }


def test_bidi_ends_a_session_by_devtools_own_command() -> None:
    sent = {"id": 1, "method": "goog:cdp.sendCommand", "params": {"method": "Browser.close"}}
    command = bidi_end(json.dumps(sent))
    assert command is not None
    assert json.loads(command.success) == {"type": "success", "id": 1, "result": {"result": {}}}


@pytest.mark.parametrize(
    "sent",
    [
        {"id": 7, "method": "session.end"},
        {"method": "session.end", "params": {}},
        {"id": "7", "method": "session.end", "params": {}},
        {"id": True, "method": "session.end", "params": {}},
        {"id": 7, "method": "session.status", "params": {"method": "session.end"}},
        {"id": 7, "method": "goog:cdp.sendCommand", "params": {"method": "Browser.getVersion"}},
        {"id": 7, "method": "Browser.close", "params": {}},
        ["session.end"],
    ],
)
def test_what_chromedriver_rejects_or_does_not_end_a_session_is_passed_on(sent: object) -> None:
    assert bidi_end(json.dumps(sent)) is None


def test_devtools_ends_a_session_on_every_target_and_the_answer_names_it() -> None:
    command = cdp_end(json.dumps({"id": 3, "method": "Browser.close", "sessionId": "S"}))
    assert command is not None
    assert json.loads(command.success) == {"id": 3, "sessionId": "S", "result": {}}
    assert json.loads(command.failure("no"))["error"]["message"] == "no"
    assert cdp_end(b'{"id": 4, "method": "Browser\\u002eclose", "params": {}}') is not None


@pytest.mark.parametrize(
    "sent",
    [
        '{"id": 3, "method": "Browser.getVersion"}',
        '{"method": "Browser.close"}',
        '{"id": 3, "method": "Browser.close"',
        "[" * 4000,
        '"Browser.close"',
        json.dumps({"id": 3, "method": "Browser.close", "params": {"x": "y" * MAX_END_COMMAND}}),
    ],
)
def test_other_messages_to_devtools_are_passed_on(sent: str) -> None:
    assert cdp_end(sent) is None


def test_chromedrivers_devtools_commands_close_the_browser() -> None:
    close = json.dumps({"cmd": "Browser.close", "params": {}}).encode()
    for command in ("/goog/cdp/execute", "/chromium/send_command", "/chromium/send_command_and_get_result"):
        assert closes_browser(command, close)
        assert not closes_browser(command, close.replace(b"close", b"crash"))
        assert not closes_browser(command, b'{"cmd": "Browser.close"}')
    assert not closes_browser("/execute/sync", close)
