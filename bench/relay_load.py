"""What `relay.py` sends: single commands over one connection, and commands over sixteen by `wrk`."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

CONNECTIONS: Final = 16
LOAD_S: Final = 3
_RATE: Final = re.compile(r"Requests/sec:\s+([\d.]+)")
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
# Each thread of wrk has one connection, to an address of its own.
_SCRIPT: Final = """
local targets = {{{targets}}}
local next = 1
function setup(thread)
  local target = targets[next]
  next = next % #targets + 1
  thread:set("path", target[3])
  thread:set("host", target[1] .. ":" .. target[2])
  thread.addr = wrk.lookup(target[1], target[2])[1]
end
function request()
  return wrk.format("GET", path, {{Host = host}})
end
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A WebDriver command: its name in the table, method, path after the session's id, and body."""

    name: str
    method: str
    path: str
    body: bytes = b""


COMMANDS: Final = (
    Command("GET /timeouts, without the browser", "GET", "/timeouts"),
    Command("GET /url", "GET", "/url"),
    Command("execute/sync", "POST", "/execute/sync", b'{"script": "return 1", "args": []}'),
)


class CommandClient:
    """Sends commands of one session over one connection, with nothing that takes time of its own.

    Args:
        session_url: The URL of the session.
    """

    def __init__(self, session_url: str) -> None:
        parts = urlsplit(session_url)
        self._host, self._path = parts.netloc, parts.path
        self._socket = socket.create_connection((parts.hostname, parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def timed_ms(self, command: Command) -> float:
        """Send a command, and return how many milliseconds its answer takes."""
        head = (
            f"{command.method} {self._path}{command.path} HTTP/1.1\r\nHost: {self._host}\r\n"
            "Accept: application/json\r\nUser-Agent: bench\r\nConnection: keep-alive\r\n"
            "Content-Type: application/json; charset=utf-8\r\n"
            f"Content-Length: {len(command.body)}\r\n\r\n"
        )
        begun = time.perf_counter()
        self._socket.sendall(head.encode() + command.body)
        answer = self._answer()
        taken = 1000 * (time.perf_counter() - begun)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return taken

    def _answer(self) -> bytes:
        content, size = b"", 1
        while len(content) < size:
            received = self._socket.recv(65536)
            assert received, "the connection was closed"
            content += received
            end = content.find(b"\r\n\r\n") + 4
            length = _LENGTH.search(content, 0, end)
            size = end + int(length[1]) if length else len(content) + 1
        return content


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of all values lies."""
    return sorted(values)[int(len(values) * share)]


def per_second(urls: Sequence[str], folder: Path) -> float:
    """Return how many GETs per second are answered over sixteen connections, spread over these URLs."""
    parts = [urlsplit(url) for url in urls]
    targets = ", ".join(f'{{"{one.hostname}", "{one.port}", "{one.path}"}}' for one in parts)
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT.format(targets=targets))
    load = ["wrk", f"-t{CONNECTIONS}", f"-c{CONNECTIONS}", f"-d{LOAD_S}s", "-s", str(script), urls[0]]
    output = subprocess.run(load, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    assert "Non-2xx" not in output, output
    rate = _RATE.search(output)
    assert rate is not None, output
    return float(rate[1])
