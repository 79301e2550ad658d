"""The addresses of the driver endpoints, with the host name that the client uses for the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from drover.net import access
from drover.net.asgi import Scope, header

CLIENT: Final = b"drover-client"
"""Header of a request from another node: scheme and host with which its client has reached that node."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that drivers connect to.

    Attributes:
        host: `name:port` at which the client can reach the service.
        secure: Whether a proxy in front of the service uses TLS.
        node: The name of the node that they lead to, if the service has several.
    """

    host: str
    secure: bool = False
    node: str | None = None

    @classmethod
    def of_node(cls, name: str, url: str) -> Addresses:
        """Return the addresses of a node, as the other nodes reach it."""
        address = urlsplit(url)
        return cls(address.netloc, address.scheme == "https", name)

    @classmethod
    def seen_by(cls, host: str | None, scheme: str, port: int) -> Addresses:
        """Return the addresses for a client that sent this `Host` header, which was checked before.

        On loopback the host is always `localhost`, on which the service listens with IPv4 and IPv6.
        """
        name, given = access.split_host(host or "", port)
        shown = f"localhost:{given}" if access.is_loopback(name) else str(host)
        return cls(shown, scheme in {"https", "wss"})

    @classmethod
    def of_request(cls, scope: Scope, port: int) -> Addresses:
        """Return the addresses for the client of a request, also if another node has passed it on."""
        scheme, _, host = (header(scope, CLIENT) or "").rpartition("://")
        if scheme:
            return cls.seen_by(host, scheme, port)
        return cls.seen_by(header(scope, b"host"), scope["scheme"], port)

    @property
    def service(self) -> str:
        """The URL of the service."""
        return f"http{'s' if self.secure else ''}://{self.host}"

    @property
    def webdriver(self) -> str:
        """The URL of the remote end for WebDriver clients."""
        return f"{self.service}/wd/hub"

    def cdp(self, session_id: str) -> str:
        """Return the URL of the DevTools WebSocket of a session's browser."""
        return f"{self._sockets}/sessions/{session_id}/cdp"

    def forwarded_cdp(self, secret: str) -> str:
        """Return the URL of the DevTools WebSocket of a session's browser that needs no token."""
        return f"{self._sockets}/cdp/{secret}"

    def page(self, session_id: str, target_id: str) -> str:
        """Return the URL of the DevTools WebSocket of one page."""
        return f"{self._sockets}/sessions/{session_id}/devtools/page/{target_id}"

    def bidi(self, secret: str) -> str:
        """Return the URL of the BiDi WebSocket of a session."""
        return f"{self._sockets}/bidi/{secret}"

    @property
    def _sockets(self) -> str:
        return f"ws{'s' if self.secure else ''}://{self.host}"
