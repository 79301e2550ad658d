"""Requests for a session that no living node has: which of them are answered without a browser, and how."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from drover.cluster.failover import Failover
from drover.cluster.unowned import answer_without_browser
from drover.core.errors import InvalidRequest
from drover.storage.cluster_values import Located
from tests.unit.cluster.test_requests import scope

SUMMARY = {"created_at": "2026-11-22T19:40:00.123Z", "state": "ready", "health": {"status": "healthy"}}


class Kept:
    """A database with one session, which notes whether its end forgets what is kept for its key."""

    def __init__(self) -> None:
        self.forgot: list[bool] = []

    def summary(self, _: str) -> dict[str, Any]:
        """Return the session as its owner has described it."""
        return SUMMARY

    def remove(self, _session_id: str, _seen: int, *, forgets_key: bool) -> bool:
        """Delete it."""
        self.forgot.append(forgets_key)
        return True


def answer(kept: Kept, request: dict[str, Any], key: str | None = "k") -> dict[str, Any] | None:
    """Return the JSON object that answers a request; None if it needs a browser."""
    nothing: Any = SimpleNamespace()
    shared: Any = SimpleNamespace(ownership=kept, repository=None)
    found = Located("one", key, 3, None, None, None, None, 1)
    response = answer_without_browser(request, found, Failover(nothing, shared, nothing, nothing), 2)
    return None if response is None else dict(json.loads(response.body))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("no", ["false", "0", "no", "False"])
def test_a_look_without_recovery_starts_no_browser_however_it_is_spelled(method: str, no: str) -> None:
    found = answer(Kept(), scope(method, "/sessions/one", f"recover={no}"))
    assert found is not None
    assert found["session"]["health"]["status"] == "dead"
    assert answer(Kept(), scope(method, "/sessions/one", "recover=yes")) is None
    assert answer(Kept(), scope(method, "/sessions/one")) is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_past_of_a_session_starts_no_browser(method: str) -> None:
    found = answer(Kept(), scope(method, "/sessions/one/history"))
    assert found is not None
    assert (found["state"], [one["event"] for one in found["history"]]) == ("ready", ["created"])


@pytest.mark.parametrize("query", ["keep=true", "keep=1", "keep=yes", "keep=True"])
def test_an_end_that_keeps_the_login_is_recognized_however_it_is_spelled(query: str) -> None:
    kept = Kept()
    assert answer(kept, scope("DELETE", "/sessions/one", query)) is not None
    assert kept.forgot == [False]


@pytest.mark.parametrize(("path", "forgets"), [("/sessions/one", True), ("/wd/hub/session/one", False)])
def test_an_end_forgets_the_login_unless_a_driver_quits(path: str, forgets: bool) -> None:
    kept = Kept()
    assert answer(kept, scope("DELETE", path)) is not None
    assert kept.forgot == [forgets]


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("DELETE", "/sessions/one", "keep=maybe"),
        ("DELETE", "/sessions/one", "kepp=true"),
        ("DELETE", "/sessions/one", "keep=true&keep=true"),
        ("GET", "/sessions/one", "recover=never"),
        ("GET", "/sessions/one/history", "all=1"),
    ],
)
def test_a_query_that_its_node_would_refuse_is_refused(method: str, path: str, query: str) -> None:
    kept = Kept()
    with pytest.raises(InvalidRequest):
        answer(kept, scope(method, path, query))
    assert kept.forgot == []


def test_the_state_of_a_session_without_a_key_cannot_be_kept() -> None:
    kept = Kept()
    with pytest.raises(InvalidRequest, match="no key"):
        answer(kept, scope("DELETE", "/sessions/one", "keep=true"), key=None)
    assert kept.forgot == []
