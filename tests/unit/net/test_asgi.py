"""The target of a request in its scope, and the parts of a response."""

from __future__ import annotations

import asyncio
import json

import pytest

from drover.net.asgi import PART_BYTES, Message, Response, header, json_bytes, send_answer, with_target


def test_the_host_of_an_absolute_target_replaces_the_header() -> None:
    headers = [(b"accept", b"*/*"), (b"host", b"first.example")]
    scope = {"raw_path": b"http://localhost:5010/%61", "path": "http://localhost:5010/a", "headers": headers}
    read, refusal = with_target(scope)
    assert (read["path"], read["raw_path"], header(read, b"host")) == ("/a", b"/a", "localhost:5010")
    assert (header(read, b"accept"), refusal) == ("*/*", None)


def test_the_decoded_path_is_read_if_the_server_does_not_tell_the_one_that_was_sent() -> None:
    assert with_target({"path": "/ä b", "headers": []})[0]["path"] == "/%C3%A4%20b"


@pytest.mark.parametrize("length", [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
def test_a_long_answer_is_sent_in_parts(length: int) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    body = bytes(length)
    asyncio.run(send_answer(send, Response(200, body)))
    parts = [message["body"] for message in sent[1:]]
    assert b"".join(parts) == body
    assert len(parts) == max(1, -(-length // PART_BYTES))
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(parts) - 1) + [False]


@pytest.mark.parametrize("text", ["plain", "schön 🙂", "half of a pair: \ud83d"])
def test_whatever_text_a_page_has_stored_can_be_answered(text: str) -> None:
    assert json.loads(json_bytes({"text": text}).decode()) == {"text": text}


def test_text_is_sent_as_utf_8() -> None:
    assert json_bytes(["schön 🙂"]) == '["schön 🙂"]'.encode()
