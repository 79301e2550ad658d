"""May this request in? One pure decision, asked at every door of the service.

The browsers that Drover runs show pages of strangers, and such a page can reach the service's port.
So a request is let in only if it names one of our own hosts, comes from no foreign page, and shows
the token where one is configured.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from drover.core import errors

# Basic stands first: browsers offer the prompt for the first challenge that they know.
WWW_AUTHENTICATE = 'Basic realm="Drover", charset="UTF-8", Bearer realm="Drover"'

_ALWAYS_OURS = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65535
_OWN_PAGES = ("same-origin", "none")
_OPEN_PATHS = ("/health", "/health/")

_NAME_AND_PORT = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<address>.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What the service is bound to, and for whom it opens.

    Attributes:
        hosts: Allowed names in a `Host` header, lower case, IPv6 without brackets.
        port: The port that the service listens on.
        token: The secret that every request must show; None lets everybody on this machine in.
        proxies: The operator's own entries as (name, port); a port of None means the usual ones.
    """

    hosts: frozenset[str]
    port: int
    token: str | None = field(repr=False)
    proxies: frozenset[tuple[str, int | None]] = frozenset()


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """What a request says about who sends it; a header that was not sent is None.

    `query_token` is filled only by doors that are WebSockets, since browsers cannot set headers there.
    """

    method: str
    path: str
    host: str | None
    origin: str | None = None
    sec_fetch_site: str | None = None
    authorization: str | None = field(default=None, repr=False)
    content_type: str | None = None
    has_body: bool = False
    query_token: str | None = field(default=None, repr=False)


def access_policy(host: str, port: int, allowed_hosts: Iterable[str], token: str | None) -> AccessPolicy:
    """The door of a service bound to `host` and `port`; `allowed_hosts` are `name` or `name:port`.

    Raises:
        errors.StartRefused: An entry of `allowed_hosts` is not a host name, or the token is blank.
    """
    proxies = frozenset(_operator_entry(entry) for entry in allowed_hosts if entry.strip())
    names = {*_ALWAYS_OURS, _plain_name(host), *(name for name, _ in proxies)}
    return AccessPolicy(frozenset(names), port, _token_or_none(token), proxies)


def check_bind(host: str, token: str | None) -> None:
    """Refuse to be reachable from other machines without a token.

    Raises:
        errors.StartRefused: `host` is not a loopback address and there is no token,
            or the token is blank.
    """
    if _token_or_none(token) is None and not is_loopback(host):
        raise errors.StartRefused(
            f"DROVER_HOST={host} is reachable from other machines: set DROVER_API_TOKEN to a long "
            "random value, or bind to 127.0.0.1."
        )


def authorize(caller: RequestOrigin, policy: AccessPolicy) -> None:
    """Let `caller` pass, or raise the error that says why not.

    Raises:
        errors.ForbiddenHost: The `Host` header names no host of ours.
        errors.ForbiddenOrigin: The request comes from a web page that is not ours.
        errors.Unauthorized: A token is configured, and the request's is missing or wrong.
        errors.UnsupportedMediaType: The request has a body that is not declared as JSON.
    """
    _check_host(caller, policy)
    _check_origin(caller, policy)
    _check_token(caller, policy)
    _check_content_type(caller, policy)


def _check_host(caller: RequestOrigin, policy: AccessPolicy) -> None:
    address = _split_address(caller.host or "")
    if address is None or address[0] not in policy.hosts:
        raise errors.ForbiddenHost(
            "The Host header names no host of this service: call it as localhost, "
            "or add the name to DROVER_ALLOWED_HOSTS."
        )


def _check_origin(caller: RequestOrigin, policy: AccessPolicy) -> None:
    site = caller.sec_fetch_site
    if site is not None and site.strip().lower() not in _OWN_PAGES:
        raise errors.ForbiddenOrigin(
            "A page of another site sent this request (Sec-Fetch-Site): call the service from its "
            "own pages or from a program."
        )
    if caller.origin is not None and not _is_own_origin(caller.origin, policy):
        raise errors.ForbiddenOrigin(
            "The Origin header names a page that is not this service's: call it from its own pages or "
            "from a program, or add the page's host to DROVER_ALLOWED_HOSTS."
        )


def _is_own_origin(origin: str, policy: AccessPolicy) -> bool:
    match = _ORIGIN.fullmatch(origin)
    address = _split_address(match["address"]) if match else None
    if match is None or address is None:
        return False
    name, given_port = address
    usual_port = _DEFAULT_PORTS[match["scheme"].lower()]
    port = usual_port if given_port is None else given_port
    if name in policy.hosts and port == policy.port:
        return True
    # A proxy without a port of its own stands on the usual one; another port there is another page.
    return (name, port) in policy.proxies or ((name, None) in policy.proxies and port == usual_port)


def _check_token(caller: RequestOrigin, policy: AccessPolicy) -> None:
    if policy.token is None or caller.path in _OPEN_PATHS:
        return
    expected = policy.token.encode("utf-8", "surrogatepass")
    # No shortcut between the candidates: the time tells nothing about which of them was near.
    matches = [hmac.compare_digest(shown, expected) for shown in _shown_tokens(caller)]
    if not any(matches):
        raise errors.Unauthorized(
            "The token is missing or wrong: send 'Authorization: Bearer <DROVER_API_TOKEN>'."
        )


def _shown_tokens(caller: RequestOrigin) -> list[bytes]:
    shown = [] if caller.query_token is None else [caller.query_token.encode("utf-8", "surrogatepass")]
    scheme, _, credentials = (caller.authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer":
        shown += _header_spellings(credentials.strip())
    elif scheme.lower() == "basic":
        shown += _basic_password(credentials.strip())
    return shown


def _header_spellings(text: str) -> list[bytes]:
    """The bytes that a header's text stands for: servers hand UTF-8 on as if it were Latin-1."""
    spellings = [text.encode("utf-8", "surrogatepass")]
    try:
        return [*spellings, text.encode("latin-1")]
    except UnicodeEncodeError:
        return spellings


def _basic_password(credentials: str) -> list[bytes]:
    try:
        decoded = base64.b64decode(credentials, validate=True)
    except (binascii.Error, ValueError):
        return []
    _, colon, password = decoded.partition(b":")
    return [password] if colon else []


def _check_content_type(caller: RequestOrigin, policy: AccessPolicy) -> None:
    media_type = (caller.content_type or "").partition(";")[0].strip().lower()
    if not caller.has_body or media_type == "application/json":
        return
    raise errors.UnsupportedMediaType(
        "Send the body as JSON: "
        f"curl -X {shlex.quote(caller.method)} -H 'Content-Type: application/json' -d '{{...}}' "
        f"http://localhost:{policy.port}{quote(caller.path, safe='/-_.~', errors='replace')}"
    )


def split_host(host: str, port: int) -> tuple[str, int]:
    """Give name and port of a `Host` header; what it leaves out, or a malformed one, is this machine's."""
    name, given = _split_address(host) or ("localhost", port)
    return name, port if given is None else given


def _split_address(text: str) -> tuple[str, int | None] | None:
    """`name`, `name:port`, `[ipv6]` or `[ipv6]:port` as (plain name, port); None for all else."""
    match = _NAME_AND_PORT.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    if port is not None and port > _HIGHEST_PORT:
        return None
    return _plain_name(match["bracketed"] or match["name"]), port


def _plain_name(name: str) -> str:
    """One spelling for one host: lower case, no brackets, no final dot, IPv6 in its short form."""
    plain = name.strip().strip("[]").lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(plain))
    except ValueError:
        return plain


def _operator_entry(entry: str) -> tuple[str, int | None]:
    text = entry.strip()
    bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    address = _split_address(f"[{text}]" if bare_ipv6 else text)
    if address is None:
        raise errors.StartRefused(
            f"DROVER_ALLOWED_HOSTS={entry!r} is not a host: give names or addresses, each with or "
            "without a port, such as drover.example or drover.example:8443."
        )
    return address


def _token_or_none(token: str | None) -> str | None:
    if token is None:
        return None
    if not token.strip():
        raise errors.StartRefused(
            "DROVER_API_TOKEN is blank: set it to a long random value, or leave it unset."
        )
    return token.strip()


def is_loopback(host: str) -> bool:
    """Tell whether only programs on this machine can reach a service that is bound to `host`."""
    name = _plain_name(host)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
