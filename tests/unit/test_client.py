"""The lease of a session of the client for scripts: renewed while the session is used, given back once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping

import pytest

from drover.client import Drover, LeaseLost, Session

LEASE_S = 0.03


class Leases(Drover):
    """A service with one session, whose leases have numbers for tokens.

    Args:
        before_renewal: Called before a renewal arrives.
    """

    def __init__(self, before_renewal: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.held: str | None = "1"
        self.given_back = threading.Event()
        self.renewed = threading.Event()
        self._before_renewal = before_renewal
        self._granted = 1

    def send(self, method: str, path: str, body: Mapping[str, object] | None, token: str | None) -> bytes:
        """Answer as the service does."""
        assert path == "/sessions/one/lease"
        if method == "DELETE":
            assert token == self.held
            self.held = None
            self.given_back.set()
            return b"{}"
        self._before_renewal()
        if self.held is None:
            self._granted += 1
            self.held = str(self._granted)
        self.renewed.set()
        return json.dumps({"lease": {"token": self.held}}).encode()

    def leased(self) -> Session:
        """Return the session as it is handed over with a lease."""
        answer = {"session_id": "one", "session": {}, "recovery": None, "lease": {"token": self.held}}
        return Session(self, answer, LEASE_S, closes=False)


def test_a_renewal_on_its_way_begins_no_new_lease_after_the_end_of_the_last_one() -> None:
    renewing = threading.Event()

    def overtaken() -> None:
        renewing.set()
        service.given_back.wait(0.5)

    service = Leases(overtaken)
    session = service.leased()
    assert renewing.wait(5)
    session.release()
    assert service.renewed.wait(5)
    assert service.held is None


def test_a_lease_that_a_late_renewal_has_begun_anew_is_given_back() -> None:
    ends = threading.Event()
    service = Leases(lambda: ends.wait(5))
    session = service.leased()
    service.held = None
    ends.set()
    assert service.given_back.wait(5)
    with pytest.raises(LeaseLost, match="had ended"):
        _ = session.driver
    session.release()
    assert service.held is None
