"""The browser of the fake ChromeDriver: a process with a helper, a profile and a debugging port.

It takes `--user-data-dir`, writes `DevToolsActivePort` there as Chrome does, serves `/json/version`,
`/json/list` and as much of DevTools as a session needs, and has the faults of `fake_chromedriver.py`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import uuid
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Final

from tests.integration.fake_chromedriver import VERSION, Fault, Handler, current_fault

GUID: Final = str(uuid.uuid4())
PAGE: Final = uuid.uuid4().hex.upper()
TARGET: Final = {"targetId": PAGE, "type": "page", "title": "", "url": "data:,", "attached": True}
WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OPCODE_CLOSE: Final = 8
MOST_IN_ONE_BYTE: Final = 125
SMALLEST_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DEVTOOLS_RESULTS: Final[dict[str, object]] = {
    "Browser.getVersion": {"product": f"Chrome/{VERSION}", "protocolVersion": "1.3"},
    "Browser.getWindowForTarget": {
        "windowId": 1,
        "bounds": {"left": 0, "top": 0, "width": 1200, "height": 800, "windowState": "normal"},
    },
    "Page.addScriptToEvaluateOnNewDocument": {"identifier": "1"},
    "Page.captureScreenshot": {"data": SMALLEST_PNG},
    "Page.navigate": {"frameId": PAGE, "loaderId": PAGE},
    "Runtime.evaluate": {"result": {"type": "undefined"}},
    "Storage.getCookies": {"cookies": []},
    "Target.attachToTarget": {"sessionId": PAGE},
    "Target.createTarget": {"targetId": PAGE},
    "Target.getTargets": {"targetInfos": [TARGET]},
}


class BrowserHandler(Handler):
    """The debugging port of a browser: JSON over HTTP, DevTools over a WebSocket."""

    def do_GET(self) -> None:  # noqa: N802 - the name is the standard library's
        """Serve one request, or a WebSocket until it is closed."""
        self.wait_while(Fault.BROWSER_HUNG)
        if key := self.headers.get("Sec-WebSocket-Key"):
            self._serve_devtools(key)
            return
        assert isinstance(self.server, ThreadingHTTPServer)
        base = f"ws://127.0.0.1:{self.server.server_port}/devtools"
        if self.path.rstrip("/") == "/json/version":
            self.answer(
                {
                    "Browser": f"Chrome/{VERSION}",
                    "Protocol-Version": "1.3",
                    "User-Agent": f"Mozilla/5.0 HeadlessChrome/{VERSION}",
                    "webSocketDebuggerUrl": f"{base}/browser/{GUID}",
                }
            )
        elif self.path.rstrip("/") in {"/json", "/json/list"}:
            page = {"id": PAGE, "type": "page", "title": "", "url": "data:,"}
            self.answer([page | {"webSocketDebuggerUrl": f"{base}/page/{PAGE}"}])
        else:
            self.answer({}, HTTPStatus.NOT_FOUND)

    def _serve_devtools(self, key: str) -> None:
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accepted = hashlib.sha1(key.encode() + WEBSOCKET_GUID, usedforsecurity=False).digest()
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accepted).decode())
        self.end_headers()
        self.close_connection = True
        while (text := self._receive()) is not None:
            self.wait_while(Fault.BROWSER_HUNG)
            command = json.loads(text)
            self._send({"id": command["id"]} | _devtools_answer(command["method"]))
            if command["method"] == "Target.setDiscoverTargets":
                self._send({"method": "Target.targetCreated", "params": {"targetInfo": TARGET}})

    def _receive(self) -> bytes | None:
        """Return the next message, or None at the end; clients mask what they send, and do not fragment."""
        head = self.rfile.read(2)
        if len(head) < len(b"xx") or head[0] & 0x0F == OPCODE_CLOSE:
            return None
        length = head[1] & 0x7F
        if length > MOST_IN_ONE_BYTE:
            length = int.from_bytes(self.rfile.read(2 if length == MOST_IN_ONE_BYTE + 1 else 8), "big")
        mask, data = self.rfile.read(4), self.rfile.read(length)
        return bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))

    def _send(self, message: object) -> None:
        data = json.dumps(message).encode()
        short = len(data) <= MOST_IN_ONE_BYTE
        length = bytes([len(data)]) if short else bytes([MOST_IN_ONE_BYTE + 1]) + len(data).to_bytes(2, "big")
        self.wfile.write(b"\x81" + length + data)
        self.wfile.flush()


def _devtools_answer(method: str) -> dict[str, object]:
    if method == "Target.getTargetInfo":  # This is how a client learns that a page has closed.
        return {"error": {"code": -32602, "message": "No target with given id found"}}
    return {"result": DEVTOOLS_RESULTS.get(method, {})}


def _run_browser(profile: Path) -> None:
    if current_fault() is Fault.BROWSER_DIES_AT_START:
        sys.exit(1)
    # A helper ends when its browser does, here because the pipe between them closes.
    wait_for_the_end = "import sys; sys.stdin.read()"
    helper = [sys.executable, "-S", "-c", wait_for_the_end, "--type=renderer", f"--user-data-dir={profile}"]
    subprocess.Popen(helper, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BrowserHandler)
    server.daemon_threads = True
    ready = profile / ".DevToolsActivePort"
    ready.write_text(f"{server.server_address[1]}\n/devtools/browser/{GUID}", encoding="utf-8")
    ready.replace(profile / "DevToolsActivePort")
    server.serve_forever()


def main(arguments: list[str]) -> None:
    """Run the fake browser."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--user-data-dir", type=Path, default=Path())
    options, _ = parser.parse_known_args(arguments)
    _run_browser(options.user_data_dir)


if __name__ == "__main__":
    main(sys.argv[1:])
