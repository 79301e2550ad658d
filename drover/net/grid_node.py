"""The node of a Selenium Grid that sends its sessions to this service: the requests that it is sent."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

TIMEOUT_S = 2.0
_SECRET = "X-REGISTRATION-SECRET"  # noqa: S105 - the header's name


class GridNodeFailed(Exception):
    """The node could not be reached, or it refused the request."""


@dataclass(frozen=True, slots=True)
class GridNode:
    """A node of a Selenium Grid, by its own address.

    Attributes:
        url: Its address, such as `http://127.0.0.1:5555`.
        secret: The registration secret of the Grid; empty if it has none.
    """

    url: str
    secret: str = field(default="", repr=False)

    def free_slot(self, session_id: str) -> None:
        """Have the node end a session and free its slot; a session that it does not have is no error.

        Raises:
            GridNodeFailed: The slot may still be taken.
        """
        status = self._send("DELETE", f"/se/grid/node/session/{quote(session_id, safe='')}")[0]
        if status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            raise GridNodeFailed(_explained(status))

    def drain(self) -> None:
        """Have the node accept no new sessions, and end when its last session has ended.

        Raises:
            GridNodeFailed: It may go on.
        """
        status = self._send("POST", "/se/grid/node/drain")[0]
        if status != HTTPStatus.OK:
            raise GridNodeFailed(_explained(status))

    def status(self) -> dict[str, Any]:
        """Return the node's description of itself, with its slots.

        Raises:
            GridNodeFailed: It cannot be reached, or it is no node.
        """
        status, body = self._send("GET", "/status")
        try:
            return {**json.loads(body)["value"]["node"]}
        except (ValueError, LookupError, TypeError) as error:
            raise GridNodeFailed(f"{self.url}/status is not that of a node (HTTP {status})") from error

    def _send(self, method: str, path: str) -> tuple[int, bytes]:
        request = urllib.request.Request(  # noqa: S310 - the operator's own address
            self.url.rstrip("/") + path, method=method, headers={_SECRET: self.secret}
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=TIMEOUT_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise GridNodeFailed(str(error)) from error


def _explained(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "it refuses DROVER_GRID_SECRET"
    return f"it answered HTTP {status}"
