"""Answers that need no browser, for a session that no living node has: none is started for them."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from drover.api.session_answers import SessionClosedAnswer
from drover.api.session_requests import CloseQuery, LookQuery
from drover.api.validation import Model, Nothing, validated_query
from drover.attach import w3c
from drover.cluster.failover import Failover
from drover.cluster.requests import ends, is_history, is_look
from drover.core.errors import BrowserUnavailable
from drover.net.asgi import Response, Scope, json_answer
from drover.storage.cluster_values import Located

_SCREENSHOT: Final = "/screenshot"


def answer_without_browser(scope: Scope, found: Located, failover: Failover, active: int) -> Response | None:
    """Return the answer to a request; None if it needs the session's browser. Waits for the database.

    Args:
        active: The number of sessions of this node, which the answer to an end tells.

    Raises:
        DroverError: One of the errors that the route documents; `NotOwner` if another node was faster.
    """
    if ends(scope):
        return _ended(scope, found, failover, active)
    if is_history(scope):
        _query(Nothing, scope)
        return json_answer(failover.history(found))
    if not is_look(scope) or _query(LookQuery, scope).recover:
        return None
    if scope["path"].rstrip("/").endswith(_SCREENSHOT):
        raise BrowserUnavailable(
            f"No machine has session {found.session_id} now; its next use restores it on one"
        )
    return json_answer(failover.describe(found))


def _ended(scope: Scope, found: Located, failover: Failover, active: int) -> Response:
    if w3c.is_command(scope):
        # `driver.quit()` keeps the state.
        failover.end(found, forgets_key=False)
        return w3c.value(None)
    query = _query(CloseQuery, scope)
    query.check(found.session_id, found.key)
    failover.end(found, forgets_key=not query.keep)
    return json_answer(SessionClosedAnswer.of(found.session_id, active).json_object())


def _query(model: type[Model], scope: Scope) -> Model:
    text = scope["query_string"].decode("latin-1")
    return validated_query(model, parse_qsl(text, keep_blank_values=True))
