"""A bare ChromeDriver and the service side by side, and their answers to the same commands."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from drover.browser.binaries import resolve
from tests.acceptance.service import running
from tests.acceptance.unrelated_processes import SWITCHES
from tests.machine import remove, short_folder, wait_until

ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
SHADOW: Final = "shadow-6066-11e4-a52e-4f735466cecf"
COMMAND_S: Final = 60.0
# What differs between browsers: ids, code positions, times, sizes in bytes.
VARYING: Final = re.compile(r"[0-9A-F]{32}|f\.[\w.]+|0x[0-9a-f]+|#\d+ .*|\d{2,}")
OF_THE_REMOTE_END: Final = "//"
"""Begins the path of a command that is not sent to a session."""

Answer = tuple[int, str, Any]
"""Status, content type, and `value` without what varies."""


@dataclass(slots=True)
class RemoteEnd:
    """One remote end with a session, used over one plain HTTP connection.

    Attributes:
        names: What earlier answers have named, by the placeholder that stands for it in later commands.
    """

    base: str
    session_id: str
    client: requests.Session
    names: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send one command and return its answer."""
        for name, value in self.names.items():
            path = path.replace(f"{{{name}}}", value)
            body = None if body is None else body.replace(f"{{{name}}}".encode(), value.encode())
        own = f"/session/{self.session_id}{path}"
        url = self.base + (path[1:] if path.startswith(OF_THE_REMOTE_END) else own)
        answer = self.client.request(method, url, data=body, headers=dict(headers), timeout=COMMAND_S)
        value = answer.json()["value"]
        self._remember(method, path, value)
        return answer.status_code, answer.headers["Content-Type"], normalized(value, self.session_id)

    def _remember(self, method: str, path: str, value: Any) -> None:  # noqa: ANN401
        if (method, path) == ("GET", "/window"):
            self.names.setdefault("first", value)
        elif isinstance(value, dict):
            found = {
                "element": value.get(ELEMENT),
                "shadow": value.get(SHADOW),
                "handle": value.get("handle"),
            }
            self.names |= {name: one for name, one in found.items() if one is not None}


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
def bare_chromedriver(folder: Path, *switches: str) -> Iterator[str]:
    """Run a ChromeDriver without the service, with these switches, and yield its URL."""
    output = folder / "out"
    binaries = resolve(None, None)
    with output.open("wb") as target:
        process = subprocess.Popen(
            [str(binaries.chromedriver), "--port=0", f"--log-path={folder}/log", *switches],
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


@contextlib.contextmanager
def both_remote_ends() -> Iterator[tuple[RemoteEnd, RemoteEnd]]:
    """Yield a bare ChromeDriver and the service, each with a session of the same capabilities."""
    folder = short_folder()
    own = {"args": [*SWITCHES, f"--user-data-dir={folder}/p", "--window-size=800,600"]}
    own["binary"] = str(resolve(None, None).chrome)  # type: ignore[assignment]
    with contextlib.ExitStack() as stack:
        stack.callback(remove, folder)
        service = stack.enter_context(running())
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
