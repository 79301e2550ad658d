"""The addresses of the drivers' doors, by the name by which a client calls the service."""

from __future__ import annotations

from dataclasses import dataclass

from drover.net import access


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where drivers attach.

    Attributes:
        host: `name:port` of the service, as its client can reach it.
        secure: Whether a proxy before the service speaks TLS.
    """

    host: str
    secure: bool = False

    @classmethod
    def seen_by(cls, host: str | None, scheme: str, port: int) -> Addresses:
        """Give the addresses for a client that has sent this `Host` header, which was checked before.

        On loopback they are always those of `localhost`, which the service listens on in both families.
        """
        name, given = access.split_host(host or "", port)
        shown = f"localhost:{given}" if access.is_loopback(name) else str(host)
        return cls(shown, scheme in {"https", "wss"})

    @property
    def webdriver(self) -> str:
        """The remote end for WebDriver clients."""
        return f"http{'s' if self.secure else ''}://{self.host}/wd/hub"

    def cdp(self, session_id: str) -> str:
        """The DevTools socket of a session's browser."""
        return f"{self._sockets}/sessions/{session_id}/cdp"

    def page(self, session_id: str, target_id: str) -> str:
        """The DevTools socket of one page of a session's browser."""
        return f"{self._sockets}/sessions/{session_id}/devtools/page/{target_id}"

    def bidi(self, secret: str) -> str:
        """The BiDi socket of a session."""
        return f"{self._sockets}/bidi/{secret}"

    @property
    def _sockets(self) -> str:
        return f"ws{'s' if self.secure else ''}://{self.host}"
