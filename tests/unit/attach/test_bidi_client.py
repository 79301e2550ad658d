"""What a BiDi client has set up is set up again in the next ChromeDriver, and its ids stay valid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drover.attach.bidi_client import MAX_KEPT, MAX_PARSED, BidiClient

LOG = {"events": ["log.entryAdded"]}
LOAD = {"events": ["browsingContext.load"], "contexts": ["A"]}


def sent(client: BidiClient, number: int, method: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Send a command; return it as ChromeDriver gets it."""
    return json.loads(client.sends(json.dumps({"id": number, "method": method, "params": parameters})))


def answer(number: int, **result: object) -> str:
    return json.dumps({"id": number, "result": result, "type": "success"})


def set_up(
    client: BidiClient, number: int, method: str, parameters: Mapping[str, Any], **result: str
) -> None:
    sent(client, number, method, parameters)
    text = answer(number, **result)
    assert client.receives(text) == text


def replayed(client: BidiClient) -> list[tuple[int, str, Any]]:
    commands = [json.loads(text) for text in client.replay()]
    return [(one["id"], one["method"], one["params"]) for one in commands]


def subscribed() -> BidiClient:
    """Return a client with two subscriptions and a preload script."""
    client = BidiClient()
    set_up(client, 1, "session.subscribe", LOG, subscription="S1")
    set_up(client, 2, "session.subscribe", LOAD, subscription="S2")
    set_up(client, 3, "script.addPreloadScript", {"functionDeclaration": "() => 1"}, script="P1")
    return client


def test_every_set_up_is_sent_again_in_order_and_its_answers_are_not_for_the_client() -> None:
    client = subscribed()
    commands = replayed(client)
    assert [(method, parameters) for _, method, parameters in commands] == [
        ("session.subscribe", LOG),
        ("session.subscribe", LOAD),
        ("script.addPreloadScript", {"functionDeclaration": "() => 1"}),
    ]
    for number, _, _ in commands:
        assert client.receives(answer(number, subscription="new", script="new")) is None
    event = json.dumps({"method": "log.entryAdded", "params": {}, "type": "event"})
    assert client.receives(event) == event


def test_the_ids_that_the_client_knows_are_translated_after_each_replacement() -> None:
    client = subscribed()
    for name in ("first", "second"):
        for number, method, _ in replayed(client):
            field = "script" if "script." in method else "subscription"
            client.receives(answer(number, **{field: f"{name}-{method}"}))
    ended = sent(client, 9, "session.unsubscribe", {"subscriptions": ["S1", "unknown"]})
    assert ended["params"] == {"subscriptions": ["second-session.subscribe", "unknown"]}
    removed = sent(client, 10, "script.removePreloadScript", {"script": "P1"})
    assert removed["params"] == {"script": "second-script.addPreloadScript"}


def test_what_was_undone_is_not_sent_again() -> None:
    client = subscribed()
    set_up(client, 4, "session.unsubscribe", {"subscriptions": ["S1"]})
    set_up(client, 5, "script.removePreloadScript", {"script": "P1"})
    assert [parameters for _, _, parameters in replayed(client)] == [LOAD]


def test_events_that_were_unsubscribed_by_name_are_not_sent_again() -> None:
    client = BidiClient()
    both = {"events": ["log.entryAdded", "browsingContext.load"]}
    set_up(client, 1, "session.subscribe", both, subscription="S1")
    set_up(client, 2, "session.subscribe", LOG, subscription="S2")
    set_up(client, 3, "session.unsubscribe", {"events": ["log.entryAdded"]})
    assert [parameters for _, _, parameters in replayed(client)] == [{"events": ["browsingContext.load"]}]


def test_a_command_that_failed_is_not_sent_again() -> None:
    client = BidiClient()
    sent(client, 1, "session.subscribe", {"events": ["no.such"]})
    client.receives(json.dumps({"error": "invalid argument", "id": 1, "message": "", "type": "error"}))
    assert client.replay() == []


def test_a_subscription_to_a_page_that_is_gone_is_dropped() -> None:
    client = subscribed()
    for number, _, _ in replayed(client):
        client.receives(json.dumps({"error": "no such frame", "id": number, "message": "", "type": "error"}))
    assert client.replay() == []


def test_commands_without_an_answer_get_an_error_once() -> None:
    client = BidiClient()
    sent(client, 1, "browsingContext.getTree", {})
    sent(client, 2, "script.evaluate", {})
    client.receives(answer(1))
    (error,) = client.interrupted()
    assert json.loads(error)["id"] == 2
    assert json.loads(error)["error"] == "unknown error"
    assert client.interrupted() == []


def test_a_long_answer_ends_its_command_and_is_not_parsed() -> None:
    client = BidiClient()
    sent(client, 1, "browsingContext.captureScreenshot", {})
    client.receives('{"id":1,"result":{"data":"' + "x" * MAX_PARSED + '"},"type":"success"}')
    assert client.interrupted() == []


def test_malformed_messages_are_passed_on_as_they_are() -> None:
    client = BidiClient()
    for message in ("[", "[]", '"text"', b"\xff", '{"id": "x"}', "{" * 3000):
        assert client.sends(message) == message
    assert client.interrupted() == []


def test_what_is_kept_of_one_client_has_a_limit() -> None:
    client = BidiClient()
    script = {"functionDeclaration": "x" * (MAX_PARSED - 200)}
    for number in range(8):
        set_up(client, number, "script.addPreloadScript", script, script=f"P{number}")
    kept = client.replay()
    assert 0 < sum(map(len, kept)) <= MAX_KEPT + len(kept) * 100
    assert len(kept) < 8


def test_lines_of_a_console_that_the_client_has_are_not_reported_again() -> None:
    def entry(text: str, at: int) -> str:
        event = {"method": "log.entryAdded", "params": {"text": text, "timestamp": at}, "type": "event"}
        return json.dumps(event, separators=(",", ":"))

    client = subscribed()
    assert client.receives(entry("one", 1)) == entry("one", 1)
    assert client.receives(entry("same moment", 1)) == entry("same moment", 1)
    client.interrupted()
    client.replay()
    assert client.receives(entry("one", 1)) is None
    assert client.receives(entry("missed", 2)) == entry("missed", 2)
    assert client.receives(entry("same moment", 2)) == entry("same moment", 2)
