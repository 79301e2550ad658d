"""What is kept for keys, asked of any of several machines."""

from __future__ import annotations

import pytest

from tests.acceptance.clusters import LOST_S, Nodes, die, state_of
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import create_saved_state, wait_until_saved
from tests.acceptance.service import Service, expect, expect_error
from tests.machine import wait_until
from tests.postgres import MISSING, is_installed

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group(name="cluster"),
]
LOGIN = {"cookies": [{"name": "sid", "value": "sent", "domain": "example.org", "path": "/"}], "origins": []}


def cookies(node: Service, key: str) -> set[str]:
    """Return the names of the cookies in the login of a key, as a node answers it."""
    answer = node.get(f"/keys/{key}/state")
    assert answer.status_code == 200, answer.text
    return {cookie["name"] for cookie in answer.json()["cookies"]}


def test_a_login_is_read_and_guarded_wherever_its_session_is(nodes: Nodes, pages: Pages) -> None:
    has, asked = nodes.start("has-login"), nodes.start("is-asked")
    session = has.create(key="login")
    create_saved_state(session, pages)
    seen = cookies(has, "login")
    assert seen
    assert cookies(asked, "login") == seen
    refused = expect_error(asked.put("/keys/login/state", json=LOGIN), 409, "session_in_use")
    assert session["session_id"] in refused
    wait_until_saved()
    die(has)
    wait_until(lambda: state_of(asked, "has-login") == "lost", "the node is lost", LOST_S)
    # The session waits for its next use, and no browser is started for a question.
    assert cookies(asked, "login") == seen
    expect_error(asked.put("/keys/login/state", json=LOGIN), 409, "session_in_use")
    assert expect(asked.get("/sessions"))["active_sessions"] == 0
    expect(asked.delete(f"/sessions/{session['session_id']}?keep=true"))
    expect(asked.put("/keys/login/state", json=LOGIN))
    assert cookies(asked, "login") == {"sid"}


def test_a_key_is_forgotten_at_any_node(nodes: Nodes) -> None:
    kept_by, asked = nodes.start("keeps-it"), nodes.start("forgets-it")
    expect(kept_by.put("/keys/short/state", json=LOGIN))
    assert "short" in {one["key"] for one in expect(asked.get("/keys"))["keys"]}
    expect(asked.delete("/keys/short"))
    assert "short" not in {one["key"] for one in expect(kept_by.get("/keys"))["keys"]}
    expect_error(kept_by.get("/keys/short/state"), 404, "not_found")
