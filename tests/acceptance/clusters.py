"""Nodes of one cluster: what its tests share."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from tests.acceptance.service import Json, Service, expect
from tests.machine import PATIENCE, kill, marked, short_folder

if TYPE_CHECKING:
    from tests.postgres import Postgres

LOST_S: Final = 40.0 * PATIENCE
"""Longer than a node is silent before the others declare it lost, and its sessions restored."""


class Nodes:
    """Nodes by name, on one database."""

    def __init__(self, database: Postgres, stack: contextlib.ExitStack) -> None:
        self._database = database
        self._stack = stack

    def start(self, name: str, **settings: object) -> Service:
        """Start a node that leaves nothing when the test ends."""
        return self.add(name, **settings).start()

    def add(self, name: str, **settings: object) -> Service:
        """Return a node that is not started, and leaves nothing when the test ends."""
        own = {"database_url": self._database.url, "node_name": name, "max_sessions": 3}
        node = Service(short_folder(), **(own | settings))
        # Until it is declared lost, the others would hand new sessions on to a killed node.
        left = "UPDATE nodes SET state = 'left' WHERE name = %s AND state IN ('up', 'draining')"
        self._stack.callback(self._database.execute, left, name)
        self._stack.callback(node.reap)
        return node


def die(node: Service) -> None:
    """End a node as a machine dies: the service, its ChromeDrivers and its browsers at once."""
    node.kill()
    kill(marked(node.data_dir))


def restored(node: Service, key: str) -> Json:
    """Ask until the session of a key is restored; every other answer has to be one of the contract."""
    over = time.monotonic() + LOST_S
    while True:
        response = node.post("/sessions", json={"key": key})
        if response.status_code == 200:
            return expect(response)
        assert response.status_code == 503, response.text
        assert response.json()["code"] in {"node_unreachable", "storage_unavailable"}, response.text
        assert time.monotonic() < over, "the session was not restored in time"
        time.sleep(0.5)


def state_of(node: Service, name: str) -> str | None:
    """Return the state of a node by its name, as another one knows it."""
    return next((one["state"] for one in expect(node.get("/nodes"))["nodes"] if one["name"] == name), None)
