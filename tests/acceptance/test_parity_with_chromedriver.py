"""Commands get the same answer from a bare ChromeDriver and through the service, errors included."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from drover.browser.binaries import resolve
from tests.acceptance.pages import Pages
from tests.acceptance.service import Service, running
from tests.acceptance.unrelated_processes import SWITCHES
from tests.machine import remove, short_folder, wait_until

ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
COMMAND_S: Final = 60.0
# What differs between browsers: ids, code positions, times, sizes in bytes.
VARYING: Final = re.compile(r"[0-9A-F]{32}|f\.[\w.]+|0x[0-9a-f]+|#\d+ .*|\d{2,}")


@dataclass(slots=True)
class RemoteEnd:
    """One remote end with a session, used over one plain HTTP connection."""

    base: str
    session_id: str
    client: requests.Session
    element: str = ""
    seen: list[Any] = field(default_factory=list)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Any:  # noqa: ANN401
        """Send one command; return status, content type and the body's JSON, without what varies."""
        path = path.replace("{element}", self.element)
        content = body.replace(b"{element}", self.element.encode()) if body is not None else None
        answer = self.client.request(
            method,
            f"{self.base}/session/{self.session_id}{path}",
            data=content,
            headers=dict(headers),
            timeout=COMMAND_S,
        )
        value = answer.json()["value"]
        if isinstance(value, dict) and ELEMENT in value:
            self.element = value[ELEMENT]
        return answer.status_code, answer.headers["Content-Type"], normalized(value, self.session_id)


def normalized(value: Any, session_id: str) -> Any:  # noqa: ANN401
    """Return a value without what differs between browsers."""
    if isinstance(value, dict):
        return {
            str(normalized(name, session_id)): normalized(one, session_id)
            for name, one in value.items()
            if name not in {"stacktrace", "timestamp"}
        } | ({"stacktrace": ""} if "stacktrace" in value else {})
    if isinstance(value, list):
        return [normalized(one, session_id) for one in value]
    if isinstance(value, str):
        return "long" if len(value) > 2000 else VARYING.sub("_", value.replace(session_id, "SESSION"))
    return value


@contextlib.contextmanager
def bare_chromedriver(folder: Path) -> Iterator[str]:
    """Run a ChromeDriver without the service, and yield its URL."""
    output = folder / "out"
    binaries = resolve(None, None)
    with output.open("wb") as target:
        process = subprocess.Popen(
            [str(binaries.chromedriver), "--port=0", f"--log-path={folder}/log"],
            stdout=target,
            env=os.environ | {"TMPDIR": str(folder)},
        )
    try:
        port = wait_until(
            lambda: re.findall(r"successfully on port (\d+)", output.read_text(encoding="utf-8")),
            "ChromeDriver listens",
        )
        yield f"http://127.0.0.1:{port[0]}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def remote_ends() -> Iterator[tuple[RemoteEnd, RemoteEnd]]:
    """Yield a bare ChromeDriver and the service, each with a session of the same capabilities."""
    folder = short_folder()
    own = {"args": [*SWITCHES, f"--user-data-dir={folder}/p", "--window-size=800,600"]}
    own["binary"] = str(resolve(None, None).chrome)  # type: ignore[assignment]
    with contextlib.ExitStack() as stack:
        stack.callback(remove, folder)
        service: Service = stack.enter_context(running())
        client = stack.enter_context(requests.Session())
        client.trust_env = False
        found = []
        for base, options in (
            (stack.enter_context(bare_chromedriver(folder)), own),
            (f"{service.url}/wd/hub", {"args": ["--window-size=800,600"]}),
        ):
            body = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            answer = client.post(f"{base}/session", json=body, timeout=COMMAND_S).json()["value"]
            found.append(RemoteEnd(base, answer["sessionId"], client))
            stack.callback(client.delete, f"{base}/session/{answer['sessionId']}", timeout=COMMAND_S)
        yield found[0], found[1]


JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
ACTIONS: Final = (
    b'{"actions": [{"type": "key", "id": "k", "actions": [{"type": "keyDown", "value": "x"},'
    b'{"type": "keyUp", "value": "x"}]}]}'
)
ARGUMENT: Final = b'{"script": "return [arguments[0].id, 1.5, null, {}]", "args": [{"%s": "{element}"}]}'
COMMANDS: Final[list[tuple[str, str, bytes | None]]] = [
    ("GET", "/timeouts", None),
    ("POST", "/timeouts", b'{"script": 1000, "pageLoad": 60000, "implicit": 0}'),
    ("POST", "/timeouts", b'{"script": -1}'),
    ("POST", "/timeouts", b'{"script": "soon"}'),
    ("GET", "/timeouts", None),
    ("POST", "/url", b'{"url": "PAGE"}'),
    ("POST", "/url", b'{"url": 17}'),
    ("POST", "/url", b"{}"),
    ("POST", "/url", b'{"url": "not an address"}'),
    ("POST", "/url", b'{"url": "http://127.0.0.1:9/"}'),
    ("POST", "/url", b'{"url": "PAGE"}'),
    ("GET", "/url", None),
    ("GET", "/title", None),
    ("GET", "/source", None),
    ("POST", "/refresh", b"{}"),
    ("POST", "/back", b"{}"),
    ("POST", "/forward", b"{}"),
    ("POST", "/element", b'{"using": "css selector", "value": "#name"}'),
    ("POST", "/elements", b'{"using": "css selector", "value": ".nothing"}'),
    ("POST", "/element", b'{"using": "css selector", "value": ".nothing"}'),
    ("POST", "/element", b'{"using": "css selector", "value": "]["}'),
    ("POST", "/element", b'{"using": "telepathy", "value": "x"}'),
    ("POST", "/element", b'{"using": "css selector"}'),
    ("POST", "/element/{element}/value", b'{"text": "Ad\\u00e4 \\ud83d\\ude00"}'),
    ("POST", "/element/{element}/value", '{"text": "äöü"}'.encode()),
    ("POST", "/element/{element}/value", b'{"text": 17}'),
    ("GET", "/element/{element}/property/value", None),
    ("GET", "/element/{element}/attribute/id", None),
    ("GET", "/element/{element}/attribute/data%20x", None),
    ("GET", "/element/{element}/css/display", None),
    ("GET", "/element/{element}/name", None),
    ("GET", "/element/{element}/rect", None),
    ("GET", "/element/{element}/enabled", None),
    ("GET", "/element/{element}/displayed", None),
    ("POST", "/element/{element}/clear", b"{}"),
    ("POST", "/element/{element}/click", b"{}"),
    ("GET", "/element/active", None),
    ("GET", "/element/nonsense/text", None),
    ("GET", "/element/f.0.d.0.e.1/text", None),
    ("GET", "/element/{element}/shadow", None),
    ("POST", "/execute/sync", ARGUMENT % ELEMENT.encode()),
    ("POST", "/execute/sync", b'{"script": "throw new Error(\'own\')", "args": []}'),
    ("POST", "/execute/sync", b'{"script": "syntax error", "args": []}'),
    ("POST", "/execute/sync", b'{"script": "return 1"}'),
    ("POST", "/execute/sync", b'{"script": "return arguments[0]", "args": [null, true, 1e9, "\xc3\xa4"]}'),
    ("POST", "/execute/sync", b'{"script": "return new Promise(() => {})", "args": []}'),
    ("POST", "/execute/sync", b'{"script": "return \'x\'.repeat(3000000)", "args": []}'),
    ("POST", "/execute/async", b'{"script": "arguments[0](42)", "args": []}'),
    ("POST", "/actions", ACTIONS),
    ("POST", "/actions", b'{"actions": [{"type": "dance"}]}'),
    ("DELETE", "/actions", None),
    ("GET", "/window/handles", None),
    ("GET", "/window", None),
    ("POST", "/window/new", b'{"type": "tab"}'),
    ("POST", "/window", b'{"handle": "unknown"}'),
    ("POST", "/window", b"{}"),
    ("POST", "/window/rect", b'{"width": 700, "height": 500}'),
    ("POST", "/window/rect", b'{"width": "wide"}'),
    ("GET", "/window/rect", None),
    ("POST", "/frame", b'{"id": 7}'),
    ("POST", "/frame", b'{"id": null}'),
    ("POST", "/frame/parent", b"{}"),
    ("POST", "/cookie", b'{"cookie": {"name": "a", "value": "b"}}'),
    ("POST", "/cookie", b'{"cookie": {"name": "a"}}'),
    ("POST", "/cookie", b'{"cookie": {"name": "a", "value": "b", "domain": "elsewhere.example"}}'),
    ("GET", "/cookie", None),
    ("GET", "/cookie/a", None),
    ("GET", "/cookie/nothing", None),
    ("DELETE", "/cookie/a", None),
    ("DELETE", "/cookie", None),
    ("GET", "/alert/text", None),
    ("POST", "/alert/accept", b"{}"),
    ("POST", "/execute/sync", b'{"script": "setTimeout(() => alert(\'look\'), 0)", "args": []}'),
    ("GET", "/title", None),
    ("GET", "/title", None),
    ("GET", "/screenshot", None),
    ("GET", "/element/{element}/screenshot", None),
    ("POST", "/print", b"{}"),
    ("POST", "/print", b'{"scale": 99}'),
    ("POST", "/goog/cdp/execute", b'{"cmd": "Browser.getVersion", "params": {}}'),
    ("POST", "/goog/cdp/execute", b'{"cmd": "No.such", "params": {}}'),
    ("POST", "/chromium/send_command_and_get_result", b'{"cmd": "Runtime.evaluate", "params": {}}'),
    ("GET", "/se/log/types", None),
    ("POST", "/se/log", b'{"type": "browser"}'),
    ("GET", "/no/such/command", None),
    ("POST", "/no/such/command", b"{}"),
    ("DELETE", "/url", None),
    ("POST", "/title", b"{}"),
    ("POST", "/url", b""),
    ("POST", "/url", b"{"),
    ("POST", "/url", b"[]"),
    ("POST", "/url", b"null"),
    ("POST", "/url", b'"text"'),
    ("POST", "/url", b'{"url": "\xff\xfe"}'),
    ("POST", "/url", b'{"url": "http://\\ud800/"}'),
    ("POST", "/url", b'{"url": "about:blank", "more": 1}'),
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
