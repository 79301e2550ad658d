"""Machines for nodes of a cluster: network namespaces with two cables, one of them to the database.

Linux, as root. Processes of all machines are in one process table; only their networks are separate.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import requests

from tests.acceptance.service import Service
from tests.machine import kill, marked, short_folder

START_S: Final = 90.0
TOKEN: Final = "a-token-for-all-machines"
CLONE_NEWNET: Final = 0x40000000
MISSING: Final = "needs network namespaces: Linux, root, and the program ip of iproute2"


@functools.cache
def is_available() -> bool:
    """Return whether network namespaces and bridges can be made here."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"drv{os.getpid()}"
    is_made = all(
        subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0
        for arguments in (["netns", "add", name], ["link", "add", name, "type", "bridge"])
    )
    for arguments in (["netns", "del", name], ["link", "del", name]):
        subprocess.run(["ip", *arguments], capture_output=True, check=False)
    return is_made


def ip(*arguments: str) -> None:
    """Run the program `ip`."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Network:
    """A switch, with this machine at the first address.

    Args:
        letter: Its letter in the names of its cables.
        number: The third part of its addresses.
    """

    def __init__(self, letter: str, number: int) -> None:
        self.letter = letter
        self._prefix = f"10.{128 + os.getpid() % 120}.{number}"
        self.bridge = f"drv{os.getpid()}{letter}"
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    @property
    def address(self) -> str:
        """The address of this machine."""
        return f"{self._prefix}.1"

    def address_of(self, number: int) -> str:
        """Return the address of a machine."""
        return f"{self._prefix}.{number}"

    def remove(self) -> None:
        """Remove it."""
        ip("link", "del", self.bridge)


class Machine:
    """A network namespace.

    Args:
        number: Names it, and is the last part of its addresses.
        clients: The network of the clients and of the other machines.
        database: The network of the database.
    """

    def __init__(self, number: int, clients: Network, database: Network) -> None:
        self._number = number
        self._networks = (clients, database)
        self._namespace = f"drv{os.getpid()}{number}"
        self.address = clients.address_of(number)
        ip("netns", "add", self._namespace)
        ip("-n", self._namespace, "link", "set", "lo", "up")
        for network in self._networks:
            cable, plug = self._cable(network), f"{network.letter}0"
            ip("link", "add", cable, "type", "veth", "peer", "name", plug, "netns", self._namespace)
            ip("link", "set", cable, "master", network.bridge, "up")
            ip("-n", self._namespace, "addr", "add", f"{network.address_of(number)}/24", "dev", plug)
            ip("-n", self._namespace, "link", "set", plug, "up")

    @property
    def prefix(self) -> list[str]:
        """What a command begins with to run on this machine."""
        return ["nsenter", f"--net=/run/netns/{self._namespace}"]

    def enter(self) -> None:
        """Have the calling thread open its sockets on this machine from now on."""
        with Path(f"/run/netns/{self._namespace}").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns failed")

    def cut_off_from_clients(self) -> None:
        """Pull the cable to the clients and the other machines."""
        ip("link", "set", self._cable(self._networks[0]), "down")

    def cut_off_from_database(self) -> None:
        """Pull the cable to the database."""
        ip("link", "set", self._cable(self._networks[1]), "down")

    def connect(self) -> None:
        """Put both cables in again."""
        for network in self._networks:
            ip("link", "set", self._cable(network), "up")

    def remove(self) -> None:
        """Remove it; its cables go with it."""
        ip("netns", "del", self._namespace)

    def _cable(self, network: Network) -> str:
        return f"drv{os.getpid()}{network.letter}{self._number}"


class Node(Service):
    """A node on a machine of its own.

    Args:
        machine: Where it runs.
        name: Its name.
        database_url: The database.
        settings: As those of a service.
    """

    def __init__(self, machine: Machine, name: str, database_url: str, **settings: object) -> None:
        super().__init__(
            short_folder(),
            host="0.0.0.0",  # noqa: S104 - in a network of its own
            api_token=TOKEN,
            node_name=name,
            database_url=database_url,
            **settings,
        )
        self.name = name
        self.machine = machine
        self.settings["node_url"] = self.url
        self.command = [*machine.prefix, *self.command]

    @property
    def url(self) -> str:
        """The base URL, as the clients and the other nodes reach it."""
        return f"http://{self.machine.address}:{self.port}"

    def request(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send one request with the token."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        return super().request(method, path, headers=headers, **options)

    def start(self, timeout: float = START_S) -> Node:
        """Start it and wait until it answers; on a busy machine three nodes at once take long."""
        super().start(timeout)
        return self

    def die(self) -> None:
        """End it as a machine dies: the service, its ChromeDrivers and its browsers at once."""
        self.kill()
        kill(marked(self.data_dir))


class Site:
    """Two networks, and the machines in them.

    Attributes:
        database_address: Where the machines reach the database.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._clients, self._database = Network("c", 1), Network("d", 2)
        stack.callback(self._clients.remove)
        stack.callback(self._database.remove)
        self.database_address = self._database.address
        self._count = 1

    def machine(self) -> Machine:
        """Return another machine."""
        self._count += 1
        machine = Machine(self._count, self._clients, self._database)
        self._stack.callback(machine.remove)
        return machine

    def node(self, name: str, database_url: str, **settings: object) -> Node:
        """Start a node on another machine; it leaves nothing when the site ends."""
        node = Node(self.machine(), name, database_url, **settings)
        self._stack.callback(node.reap)
        node.start()
        return node


@contextmanager
def site() -> Iterator[Site]:
    """Yield a site, and leave nothing of it."""
    with ExitStack() as stack:
        yield Site(stack)
