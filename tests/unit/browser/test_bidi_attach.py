"""A ChromeDriver that attaches with BiDi gets a spare page, and the others are checked afterwards."""

from __future__ import annotations

import json

from drover.browser.attach_gate import spare_last
from drover.browser.bidi_attach import BLANK, Document, blanked


def targets(*ids: str) -> str:
    return json.dumps({"id": 3, "result": {"targetInfos": [{"targetId": one} for one in ids]}})


def test_the_spare_page_and_its_tab_are_listed_last_and_the_others_keep_their_order() -> None:
    listed = spare_last(targets("spare", "b", "tab", "a"), frozenset({"spare", "tab"}))
    assert json.loads(listed) == json.loads(targets("b", "a", "spare", "tab"))


def test_other_messages_pass_as_they_are() -> None:
    event = '{"method": "Target.targetCreated", "params": {"targetInfos": "x"}}'
    for message in (event, b"targetInfos", '{"id": 1, "result": {}}'):
        assert spare_last(message, frozenset({"spare"})) == message


def test_a_page_is_lost_if_it_shows_another_empty_document() -> None:
    before = {
        "kept": Document("1", "https://a.example/"),
        "navigated by itself": Document("1", "https://b.example/"),
        "blanked": Document("1", "https://c.example/"),
        "was empty": Document("1", BLANK),
        "closed": Document("1", "https://d.example/"),
    }
    after = {
        "kept": Document("1", "https://a.example/"),
        "navigated by itself": Document("2", "https://b.example/next"),
        "blanked": Document("2", BLANK),
        "was empty": Document("2", BLANK),
    }
    assert blanked(before, after) == {"blanked": Document("1", "https://c.example/")}
