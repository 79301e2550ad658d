"""A small web server on loopback: the pages that the browsers of the tests visit."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

TIMEOUT_S: Final = 60.0
BIG_ROWS: Final = 20_000
PAGES: Final = {
    "/": "<title>Plain</title><p id=greeting>hello</p>",
    "/red": "<title>Red</title><body style='background:#f00'>",
    "/form": "<title>Form</title><form><input id=name><textarea id=text></textarea></form>",
    "/desk": "<title>Desk</title><input id=name><input id=file type=file>"
    "<button onclick=\"document.title = 'Clicked'\">go</button>",
    "/alert": "<title>Alert</title><script>setTimeout(() => alert('look here'), 50)</script>",
    "/leading": "<title>Leading</title><script>location.replace('/red')</script>",
    "/greedy": "<title>Greedy</title><script>for (const all = [];;) all.push({x: 'x' + all.length})</script>",
    "/opening": "<title>Opening</title><script>open('/red'); open('/red', '', 'noopener')</script>",
    "/attack": (Path(__file__).parent / "attack.html").read_text(encoding="utf-8"),
    "/hands": """<title>Hands</title><meta charset=utf-8><style>body{margin:0;height:3000px}
        body>*{position:absolute;width:160px;height:30px;box-sizing:border-box;margin:0}</style>
        <input id=text style="left:10px;top:10px">
        <select id=list style="left:10px;top:60px"><option>one<option disabled>two<option>three</select>
        <input id=file type=file style="left:10px;top:110px">
        <button style="left:10px;top:160px" onclick="document.title = prompt('Who?', 'me')">ask</button>
        <p id=words style="left:10px;top:210px;font:20px monospace;width:300px">some words here</p>
        <div id=from draggable=true style="left:10px;top:260px;background:#080"
            ondragstart="event.dataTransfer.setData('text', 'dragged')">from</div>
        <div id=to style="left:250px;top:260px;background:#008" ondragover="event.preventDefault()"
            ondrop="document.title = event.dataTransfer.getData('text')">to</div>
        <select id=far style="left:10px;top:1000px"><option>near<option>far</select>
        <script>onmousedown = ({x, y}) => document.body.dataset.pressed = [x, y]</script>""",
    "/login": """<title>Sign in</title><meta charset=utf-8><style>body{font:16px sans-serif;margin:20px}
        input,button{display:block;width:250px;height:30px;margin:10px 0}</style>
        <form id=login><input id=user placeholder=Name><input id=word type=password placeholder=Password>
        <button>Sign in</button></form>
        <form id=second hidden><p>Code from your phone<input id=code><button>Confirm</button></form>
        <script>
        login.onsubmit = event => {
            event.preventDefault();
            if (word.value !== "ünlösbar日本") {
                alert("Wrong password");
                document.title = "Sign in again";
                return;
            }
            login.hidden = true, second.hidden = false, code.focus();
        };
        second.onsubmit = event => {
            event.preventDefault();
            if (code.value !== "123456") return alert("Wrong code");
            if (!confirm("Stay signed in?")) return;
            document.cookie = "who=" + encodeURIComponent(user.value) + ";max-age=3600";
            document.title = "Welcome " + user.value;
            document.body.textContent = document.title;
        };
        </script>""",
    "/code": """<title>Code</title><meta charset=utf-8><style>input{width:30px;height:30px}</style>
        <form><label>Code</label><input maxlength=1 autofocus><input maxlength=1><input maxlength=1></form>
        <script>
        const boxes = [...document.querySelectorAll("input")];
        document.forms[0].addEventListener("paste", event => {
            event.preventDefault();
            [...event.clipboardData.getData("text")].forEach((digit, place) => boxes[place].value = digit);
            document.title = boxes.map(box => box.value).join("");
        });
        </script>""",
    "/standard": (Path(__file__).parent / "data" / "standard.html").read_text(encoding="utf-8"),
    "/big": "<title>Big</title>" + "<p>row</p>" * BIG_ROWS,
}


AnyPages = TypeVar("AnyPages", bound="Pages")


class Gate:
    """One page that is answered only when it is released."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requested = threading.Event()
        self.released = threading.Event()

    def wait_until_requested(self) -> None:
        """Wait until a browser requests the page."""
        assert self.requested.wait(TIMEOUT_S), f"no browser requested {self.url}"

    @contextlib.contextmanager
    def while_it_loads(self) -> Iterator[None]:
        """Run a block after a browser has requested the page and before the answer."""
        try:
            self.wait_until_requested()
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let the page be answered."""
        self.released.set()


class Pages:
    """The server; it listens while it is used as a context."""

    def __init__(self, port: int = 0) -> None:
        self.visits: list[str] = []
        self._gates: dict[str, Gate] = {}
        self._numbers = itertools.count(1)
        self._server = _Server(("127.0.0.1", port), _handler(self))

    def __enter__(self: AnyPages) -> AnyPages:  # noqa: PYI019 - `Self` needs Python 3.11
        """Start to listen."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Release every page and close."""
        for gate in self._gates.values():
            gate.release()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/") -> str:
        """Return the URL of a page."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def slow(self) -> Gate:
        """Create a page that is answered only when it is released."""
        path = f"/slow/{next(self._numbers)}"
        gate = self._gates[path] = Gate(self.url(path))
        return gate

    def answer(self, path: str) -> str | None:
        """Return the HTML of a page, after its release if it is slow; None if there is no such page."""
        self.visits.append(path)
        if gate := self._gates.get(path):
            gate.requested.set()
            gate.released.wait(TIMEOUT_S)
            return "<title>Slow</title>"
        return PAGES.get(path)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Log nothing: browsers that are killed during an answer are part of the tests."""


def _handler(pages: Pages) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            html = pages.answer(self.path)
            self.send_response(HTTPStatus.NOT_FOUND if html is None else HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((html or "").encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
            """Log nothing."""

    return Handler
