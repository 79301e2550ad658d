"""What a request names: a session by id, by a secret address, or one to be found or made; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from drover.net.asgi import Scope
from drover.net.target import segment_text
from drover.sessions.pool.session import SESSION_ID

FORWARDED: Final = b"drover-forwarded"
"""Header of a request from another node; it grants nothing, and keeps the request from going further."""
MAY_WAIT: Final = b"drover-may-wait"
"""Header of a request from a node where it cannot wait: if there is no place, it may wait for one."""

_OF_SESSION: Final = re.compile(
    r"(?:/wd/hub)?/sessions?/(?P<session_id>[A-Za-z0-9][A-Za-z0-9_-]{0,63})(?:/.*)?", re.DOTALL
)
_OF_KEY: Final = re.compile(r"/keys/(?P<key>[^/]+)/state/?")
_OF_STATE: Final = re.compile(r"/sessions/[^/]+(?:/screenshot)?/?")
"""The paths that know `?recover=false`."""
_OF_HISTORY: Final = re.compile(r"/sessions/[^/]+/history/?")
_READS: Final = frozenset({"GET", "HEAD"})
_METHODS: Final = _READS | {"POST", "PUT", "DELETE"}
_WITH_SECRET: Final = re.compile(r"/(?:bidi|cdp)/(?P<secret>[^/]+)")
_CREATIONS: Final = ("/sessions", "/wd/hub/session")
_OPTIONS: Final = "drover:options"
_NOT_IN_A_KEY: Final = re.compile("[\0\ud800-\udfff]")
"""What PostgreSQL cannot hold: NUL, and halves of characters."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a request calls its session; all None if it does not name one.

    Attributes:
        socket_secret: The secret part of the address of a socket that needs no token.
        creates: The session is made if there is none.
        needs_browser: Only a node with its browser can answer.
    """

    session_id: str | None = None
    key: str | None = None
    socket_secret: str | None = None
    creates: bool = False
    needs_browser: bool = True


def names_of(scope: Scope) -> Names | None:
    """Return what a request's path, in its one form, names; None if it concerns this node only."""
    path = scope["path"]
    if scope["type"] == "websocket":
        found = _WITH_SECRET.fullmatch(path)
        if found is not None:
            return Names(socket_secret=found["secret"])
    elif scope["method"] == "POST" and path.rstrip("/") in _CREATIONS:
        return Names(creates=True)
    found = _OF_KEY.fullmatch(path)
    if found is not None:
        return Names(key=segment_text(found["key"]), needs_browser=False)
    found = _OF_SESSION.fullmatch(path)
    if scope["type"] == "http" and scope["method"] not in _METHODS:
        # Every node answers it alike, whatever the session.
        return None
    return Names(session_id=found["session_id"]) if found is not None else None


def named_in_body(body: bytes) -> Names:
    """Return the id and key in the body of a request for a session; what is malformed names nothing."""
    content = _object(body)
    if content is None:
        return Names(creates=True)
    options = next(_options(content), content)
    session_id, key = options.get("session_id"), options.get("key")
    return Names(
        session_id if isinstance(session_id, str) and SESSION_ID.fullmatch(session_id) else None,
        key if isinstance(key, str) and not _NOT_IN_A_KEY.search(key) else None,
        creates=True,
    )


def with_json(scope: Scope) -> Scope:
    """Return the scope of a request whose body is JSON now, also if it had none."""
    headers = [one for one in scope["headers"] if one[0] != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}


def with_session_id(body: bytes, session_id: str, *, is_webdriver: bool) -> bytes:
    """Return the body of a request that names no session with a name in it; a malformed one as it is."""
    content = _object(body or b"{}")
    if content is None:
        return body
    if not is_webdriver:
        return json.dumps({**content, "session_id": session_id}).encode()
    capabilities = content.get("capabilities")
    if not isinstance(capabilities, dict):
        return body
    named = list(_options(content))
    if not named:
        always = capabilities.setdefault("alwaysMatch", {})
        # What is no object is refused by the node that makes the session.
        if not isinstance(always, dict) or not isinstance(always.setdefault(_OPTIONS, {}), dict):
            return body
        named = [always[_OPTIONS]]
    for options in named:
        options["session_id"] = session_id
    return json.dumps(content).encode()


def is_look(scope: Scope) -> bool:
    """Return whether a request asks for the state of a session, or for its picture."""
    return _reads(scope, _OF_STATE)


def is_history(scope: Scope) -> bool:
    """Return whether a request asks for what has happened to a session."""
    return _reads(scope, _OF_HISTORY)


def ends(scope: Scope) -> bool:
    """Return whether a request ends its session: no browser is started for it."""
    is_whole = scope["path"].rstrip("/").rpartition("/")[0] in {"/sessions", "/wd/hub/session"}
    return scope["type"] == "http" and scope["method"] == "DELETE" and is_whole


def _reads(scope: Scope, paths: re.Pattern[str]) -> bool:
    is_read = scope["type"] == "http" and scope["method"] in _READS
    return is_read and paths.fullmatch(scope["path"]) is not None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _options(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the options of a WebDriver request: those that all alternatives have, then those of each."""
    capabilities = content.get("capabilities")
    if not isinstance(capabilities, dict) or "session_id" in content or "key" in content:
        return
    first = capabilities.get("firstMatch")
    sets = [capabilities.get("alwaysMatch"), *(first if isinstance(first, list) else [])]
    for one in sets:
        options = one.get(_OPTIONS) if isinstance(one, dict) else None
        if isinstance(options, dict):
            yield options
