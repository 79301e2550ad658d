"""Drive a session as a client that has its `driver.url`: plain W3C WebDriver over HTTP."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.acceptance.service import Json

COMMAND_S: Final = 30.0


class Driver:
    """A client of one session's own ChromeDriver."""

    def __init__(self, session: Json) -> None:
        driver = session["driver"]
        self._base = f"{driver['url']}/session/{driver['session_id']}"

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401
        """Run a function body in the page, and return its result."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str) -> Any:  # noqa: ANN401
        """Run a script that calls its last argument with a result, and return that."""
        return self._call("POST", "/execute/async", {"script": script, "args": []})

    def address(self) -> Any:  # noqa: ANN401
        """Return the page's URL."""
        return self._call("GET", "/url")

    def windows(self) -> list[str]:
        """Return the handles of all windows."""
        return list(self._call("GET", "/window/handles"))

    def new_window(self) -> str:
        """Open a tab in front, and return its handle; the current window stays the same."""
        return str(self._call("POST", "/window/new", {"type": "tab"})["handle"])

    def type(self, element_id: str, text: str) -> None:
        """Type into an element, as a person does."""
        element = self._find(f"#{element_id}")
        self._call("POST", f"/element/{next(iter(element.values()))}/value", {"text": text})

    def enter_frame(self, selector: str) -> None:
        """Have the following commands apply to a frame of the page."""
        self._call("POST", "/frame", {"id": self._find(selector)})

    def switch_to(self, handle: str) -> None:
        """Switch to a window."""
        self._call("POST", "/window", {"handle": handle})

    def close_window(self) -> None:
        """Close the current window."""
        self._call("DELETE", "/window")

    def resize(self, width: int, height: int) -> None:
        """Set the size of the current window."""
        self._call("POST", "/window/rect", {"width": width, "height": height})

    def add_cookie(self, name: str, value: str, **attributes: object) -> None:
        """Set a cookie for the page's site; without an `expiry` it is a session cookie."""
        self._call("POST", "/cookie", {"cookie": {"name": name, "value": value} | attributes})

    def cookies(self) -> dict[str, str]:
        """Return all cookies that the page sends, by name."""
        return {cookie["name"]: cookie["value"] for cookie in self._call("GET", "/cookie")}

    def alert_text(self) -> str | None:
        """Return the text of the open alert, or None."""
        answer = self._send("GET", "/alert/text")
        return str(answer.json()["value"]) if answer.ok else None

    def dismiss_alert(self) -> None:
        """Dismiss the open alert."""
        self._call("POST", "/alert/dismiss", {})

    def _find(self, selector: str) -> Json:
        found: Json = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return found

    def _call(self, method: str, path: str, body: Json | None = None) -> Any:  # noqa: ANN401
        answer = self._send(method, path, body)
        assert answer.ok, answer.text[:1000]
        return answer.json()["value"]

    def _send(self, method: str, path: str, body: Json | None = None) -> requests.Response:
        with requests.Session() as client:
            client.trust_env = False
            return client.request(method, self._base + path, json=body, timeout=COMMAND_S)
