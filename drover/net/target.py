"""The one reading of a request's target, which the access check, the routes and the relay share.

A server that decides by the decoded path and passes on the encoded one decides about another request than
it executes: to ChromeDriver 150 `goog%2Fcdp/execute`, `%75rl` and `//url` are unknown commands, and it
takes what a segment holds, such as `a%2Fb`, for the name of an element or a cookie. So a path has one form
here, that of RFC 3986, 6.2.2: letters, digits and `-._~` are never escaped, and every other escape stays,
in upper case.
An escaped slash is therefore never taken for one. What other servers read differently is refused: empty
segments, `.` and `..`, backslashes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from drover.core.errors import DroverError, InvalidRequest, NotFound

_ABSOLUTE_FORM = re.compile(rb"https?://(?:[^/?#@]*@)?(?P<host>[^/?#@]+)(?=[/?#]|$)", re.IGNORECASE)
_PLAIN = re.compile(rb"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*/?")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_DOTS = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Target:
    """A request's target.

    Attributes:
        path: The path in its one form: ASCII, begins with a slash, no query.
        host: The host that an absolute-form target names, whatever the `Host` header says (RFC 9112, 3.2.2).
        refusal: Why the request is refused; None if the path has one meaning.
    """

    path: str
    host: bytes | None = None
    refusal: DroverError | None = None


def read_target(raw: bytes) -> Target:
    """Return the reading of a request's target as it was sent, with or without its query."""
    absolute = _ABSOLUTE_FORM.match(raw)
    host = absolute["host"] if absolute else None
    rest = raw[absolute.end() :] if absolute else raw
    sent = rest.partition(b"?")[0] or b"/"
    if _PLAIN.fullmatch(sent):
        # The usual case, as this is on the way of every command.
        return Target(sent.decode("ascii"), host)
    path = _one_form(sent)
    return Target(path, host, _refusal(sent, path))


def encoded(path: str) -> bytes:
    """Return a decoded path as it may have been sent, for servers that do not tell."""
    return quote_from_bytes(path.encode("utf-8", "surrogatepass")).encode("ascii")


def segment_text(segment: str) -> str:
    """Return the text that one segment of a path in its one form stands for."""
    return unquote_to_bytes(segment).decode("utf-8")


def _one_form(sent: bytes) -> str:
    plain = re.sub(rb"[^\x21-\x7e]", lambda found: b"%%%02X" % found[0][0], sent)
    return _ESCAPE.sub(_unescaped, plain).decode("ascii")


def _unescaped(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        # It is refused; the rest of the path still says which kind of endpoint has to answer.
        return b"%25"
    character = bytes([int(escape[1], 16)])
    return character if _PLAIN.fullmatch(b"/" + character) or character == b"." else escape[0].upper()


def _refusal(sent: bytes, path: str) -> DroverError | None:
    segments = path.split("/")
    has_broken_escape = any(escape[1] is None for escape in _ESCAPE.finditer(sent))
    rules: tuple[tuple[bool, type[DroverError], str], ...] = (
        (
            segments[0] != "",
            InvalidRequest,
            "The request target is no path. Send one that begins with a slash.",
        ),
        (
            has_broken_escape,
            InvalidRequest,
            "The path has a % without two hexadecimal digits. Send %25 for it.",
        ),
        (b"#" in sent, InvalidRequest, "The path has a fragment. Leave out the # and what follows it."),
        (not _is_utf8(path), InvalidRequest, "The path is not UTF-8. Escape the bytes of its UTF-8 form."),
        (
            "" in segments[1:-1],
            NotFound,
            "The path has two slashes in a row. Send one; is one at the address's end?",
        ),
        (
            bool(_DOTS.intersection(segments)),
            NotFound,
            "The path has a segment . or .. in it. Send it resolved.",
        ),
        (
            "\\" in path,
            NotFound,
            "The path has a backslash, which browsers take for a slash. Send a slash, or %5C.",
        ),
    )
    return next((error(message) for applies, error, message in rules if applies), None)


def _is_utf8(path: str) -> bool:
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
