"""Commands get the same answer from a bare ChromeDriver and through the service, errors included."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.pages import Pages
from tests.acceptance.remote_ends import Answer, RemoteEnd, both_remote_ends

pytestmark = pytest.mark.exhaustive

TABLE: Final = Path(__file__).parent / "data" / "w3c_commands.tsv"


@pytest.fixture
def remote_ends() -> Iterator[tuple[RemoteEnd, RemoteEnd]]:
    """Yield a bare ChromeDriver and the service, each with a new session of the same capabilities."""
    with both_remote_ends() as both:
        yield both


JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
ENOUGH_SUCCESSES: Final = 150
ENOUGH_ERRORS: Final = 15
COMMANDS: Final[list[tuple[str, str, bytes | None]]] = [
    ("POST", "/url", b'{"url": "PAGE"}'),
    ("POST", "/element", b'{"using": "css selector", "value": "#name"}'),
    ("POST", "/element/{element}/value", b'{"text": "Ad\\u00e4 \\ud83d\\ude00"}'),
    ("POST", "/element/{element}/value", '{"text": "äöü"}'.encode()),
    ("GET", "/element/{element}/attribute/data%20x", None),
    ("POST", "/execute/sync", b'{"script": "return arguments[0]", "args": [null, true, 1e9, "\xc3\xa4"]}'),
    ("POST", "/goog/cdp/execute", b'{"cmd": "Browser.getVersion", "params": {}}'),
    ("POST", "/goog/cdp/execute", b'{"cmd": "No.such", "params": {}}'),
    ("POST", "/chromium/send_command_and_get_result", b'{"cmd": "Runtime.evaluate", "params": {}}'),
    ("GET", "/se/log/types", None),
    ("POST", "/se/log", b'{"type": "browser"}'),
    ("POST", "/url", b'{"url": "\xff\xfe"}'),
    # ChromeDriver's parser of JSON accepts more than others: what it has executed is no error.
    ("POST", "/timeouts", b'{"script": 1000, /* a second */ "implicit": 0}'),
    ("POST", "/frame", b'{"id": /* the top */ null}'),
    ("POST", "/goog/cdp/execute", b'{"cmd": "Page.enable", /* all of it */ "params": {}}'),
    ("GET", "/element/%00/text", None),
    ("GET", "/element/%2e%2e%2f/text", None),
    ("GET", "/element/a%2Fb/text", None),
    ("GET", "/element/a%2bb+c/text", None),
    ("GET", "/cookie/a%2Fb", None),
    ("POST", "/goog%2fcdp/execute", b'{"cmd": "Browser.close", "params": {}}'),
]


def test_each_command_gets_the_same_answer(remote_ends: tuple[RemoteEnd, RemoteEnd], pages: Pages) -> None:
    differences = []
    for method, path, body in COMMANDS:
        content = body.replace(b"PAGE", pages.url("/form").encode()) if body is not None else None
        headers = JSON if content is not None else {}
        one, other = (side.send(method, path, content, headers) for side in remote_ends)
        if one != other:
            differences.append(f"{method} {path} {body!r}: bare {one}, through the service {other}")
    assert not differences, "\n".join(differences)


def test_a_content_type_without_a_charset_is_handled_as_by_chromedriver(
    remote_ends: tuple[RemoteEnd, RemoteEnd], pages: Pages
) -> None:
    body = f'{{"url": "{pages.url("/red")}"}}'.encode()
    for headers in ({"Content-Type": "application/json"}, {"Content-Type": "Application/JSON;charset=UTF-8"}):
        one, other = (side.send("POST", "/url", body, headers) for side in remote_ends)
        assert one == other
        assert one[0] == 200


def test_the_commands_of_the_standard_get_the_same_answer(
    remote_ends: tuple[RemoteEnd, RemoteEnd], pages: Pages
) -> None:
    """Run the table; a difference that it allows, with its reason, has to exist."""
    differences = []
    outcomes: Counter[str] = Counter()
    with TABLE.open(encoding="utf-8", newline="") as table:
        commands = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    for number, command in enumerate(commands, start=2):
        text = command["body"].replace("PAGE", pages.url("/standard"))
        body = None if text == "-" else text.encode()
        headers = {} if body is None else JSON
        one, other = (side.send(command["method"], command["path"], body, headers) for side in remote_ends)
        outcomes[error_of(one)] += 1
        if command["difference"] == "-":
            same = one == other
        else:
            same = one != other and (one[0] == HTTPStatus.OK) == (other[0] == HTTPStatus.OK)
        if not same:
            differences.append(f"line {number} {command}: bare {one}, through the service {other}")
    assert not differences, "\n".join(differences)
    # The table reaches what it is about: most commands succeed, and most errors of the standard occur.
    assert outcomes["success"] > ENOUGH_SUCCESSES
    assert len(outcomes) > ENOUGH_ERRORS


def error_of(answer: Answer) -> str:
    """Return status and error code of an answer, or `success`."""
    status, _, value = answer
    return "success" if status == HTTPStatus.OK else f"{status} {value['error']}"
