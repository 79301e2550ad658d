"""Latency of a click in `/sessions/{id}/view`: from the press to the picture that shows what it has changed.

    python bench/view.py [clicks]

A page changes its colour when it is pressed. Presses are sent by turns through the view and to Chrome's own
DevTools socket, each when no picture is on its way any more. Linux, on a quiet machine, over loopback.
"""

from __future__ import annotations

import base64
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from websockets.sync.client import ClientConnection, connect

from bench.rows import Row
from tests.acceptance.service import Service, running
from tests.acceptance.views import View, viewing

CLICKS: Final = 100
QUIET_S: Final = 0.25
WAIT_S: Final = 30.0
PAGE: Final = """<body style="margin:0;height:100vh;background:#036"><script>
onmousedown = () => document.body.style.background = `hsl(${Math.random() * 360} 80% 50%)`</script>"""
SCREENCAST: Final = {"format": "jpeg", "quality": 75, "maxWidth": 1920, "maxHeight": 1440}


class DirectView:
    """A view over Chrome's own DevTools socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._send("Page.startScreencast", **SCREENCAST)

    def press(self) -> None:
        """Press and release the left button."""
        place = {"x": 100, "y": 100, "button": "left", "clickCount": 1}
        self._send("Input.dispatchMouseEvent", type="mousePressed", buttons=1, **place)
        self._send("Input.dispatchMouseEvent", type="mouseReleased", **place)

    def wait_for_picture(self, seconds: float) -> bytes | None:
        """Return the next picture; None if none comes in time."""
        end = time.monotonic() + seconds
        while True:
            try:
                message = json.loads(self._socket.recv(timeout=max(0.0, end - time.monotonic())))
            except TimeoutError:
                return None
            if message.get("method") == "Page.screencastFrame":
                self._send("Page.screencastFrameAck", sessionId=message["params"]["sessionId"])
                return base64.b64decode(message["params"]["data"])

    def _send(self, method: str, **parameters: object) -> None:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))


class ServiceView:
    """A view over the service."""

    def __init__(self, view: View) -> None:
        self._view = view

    def press(self) -> None:
        """Press and release the left button."""
        self._view.click(100, 100)

    def wait_for_picture(self, seconds: float) -> bytes | None:
        """Return the next picture; None if none comes in time."""
        return self._view.next_picture(seconds)


def latency_ms(view: DirectView | ServiceView) -> float:
    """Return the milliseconds from a press to its picture, once no earlier picture is on its way."""
    while view.wait_for_picture(QUIET_S) is not None:
        pass
    begun = time.perf_counter()
    view.press()
    if view.wait_for_picture(WAIT_S) is None:
        raise RuntimeError(f"no picture within {WAIT_S:g} s")
    return 1000 * (time.perf_counter() - begun)


def measure(service: Service, clicks: int) -> Iterator[Row]:
    """Compare presses through the service with presses at Chrome."""
    session = service.create(session_id="view")
    service.post("/wd/hub/session/view/url", json={"url": "data:text/html," + quote(PAGE)})
    target = service.get("/sessions/view/json/list").json()[0]
    address = f"ws://{session['browser']['debugger_address']}/devtools/page/{target['id']}"
    with viewing(service, "view") as view, connect(address, proxy=None, max_size=None) as socket:
        view.wait_for("page")
        direct, ours = DirectView(socket), ServiceView(view)
        pairs = [(latency_ms(direct), latency_ms(ours)) for _ in range(clicks)]
    chrome, through = (sorted(column) for column in zip(*pairs, strict=True))
    print(f"Click to picture at Chrome itself, median {statistics.median(chrome):.1f} ms")
    yield Row("Click to picture through the view, median", statistics.median(through), 150, "ms")
    yield Row("Click to picture through the view, 95th percentile", through[clicks * 95 // 100], 250, "ms")
    added = statistics.median(ours - theirs for theirs, ours in pairs)
    yield Row("Added to Chrome's own latency, median", added, 20, "ms")


def main() -> int:
    """Print one row per measurement; return 1 if one is over its bound."""
    clicks = int(sys.argv[1]) if len(sys.argv) > 1 else CLICKS
    with running() as service:
        rows = list(measure(service, clicks))
    for row in rows:
        print(row)
    return 0 if all(row.is_kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
