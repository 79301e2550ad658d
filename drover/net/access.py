"""Access control: one pure decision for every request, used by all endpoints of the service.

The browsers that Drover runs show untrusted pages, and such a page can reach the port of the service.
Therefore a request is allowed only if its `Host` header names the service, it does not come from a
foreign page, and it has the token if one is configured.
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
from functools import lru_cache
from urllib.parse import quote

from drover.core import errors

# Basic comes first: browsers prompt for the first challenge that they support.
WWW_AUTHENTICATE = 'Basic realm="Drover", charset="UTF-8", Bearer realm="Drover"'

_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65535
_JSON = "application/json"
_OWN_PAGES = ("same-origin", "none")
# The address of a BiDi socket or of `se:forwardCdp` is its credential: only its client receives it.
_OPEN_PATHS = re.compile(r"/health/?|/(?:bidi|cdp)/[^/]+")

_NAME_AND_PORT = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<address>.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The address that the service is bound to, and the requests that it allows.

    Attributes:
        hosts: Allowed names in a `Host` header, lower case, IPv6 without brackets.
        port: The port that the service listens on.
        token: The secret that every request must have; None allows every program on this machine.
        proxies: The operator's entries as (name, port); a port of None means the default ports.
    """

    hosts: frozenset[str]
    port: int
    token: str | None = field(repr=False)
    proxies: frozenset[tuple[str, int | None]] = frozenset()


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What access control knows of a request: all that its client sent before the body.

    Attributes:
        method: The HTTP method; GET for a WebSocket.
        path: The path of the target.
        headers: Lower-case names and values, as often as they were sent.
        query_token: The token in the query of a WebSocket, for which browsers cannot set headers.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query_token: str | None = field(default=None, repr=False)

    def values(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for known, value in self.headers if known == name]

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return bool(self.values("transfer-encoding")) or any(
            length.strip("0 ") for length in self.values("content-length")
        )


def access_policy(host: str, port: int, allowed_hosts: Iterable[str], token: str | None) -> AccessPolicy:
    """Return the policy of a service bound to `host` and `port`; `allowed_hosts` are `name` or `name:port`.

    Raises:
        errors.StartRefused: An entry of `allowed_hosts` is not a host name, or the token is blank.
    """
    proxies = frozenset(_operator_entry(entry) for entry in allowed_hosts if entry.strip())
    names = {*_LOOPBACK_HOSTS, _plain_name(host), *(name for name, _ in proxies)}
    return AccessPolicy(frozenset(names), port, _token_or_none(token), proxies)


def check_bind(host: str, token: str | None) -> None:
    """Raise if the service would be reachable from other machines without a token.

    Raises:
        errors.StartRefused: `host` is not a loopback address and there is no token,
            or the token is blank.
    """
    if _token_or_none(token) is None and not is_loopback(host):
        raise errors.StartRefused(
            f"DROVER_HOST is {host}, which is reachable from other machines: set DROVER_API_TOKEN to a long "
            "random value, or set DROVER_HOST=127.0.0.1"
        )


def refusal(request: RequestHead, policy: AccessPolicy) -> errors.DroverError | None:
    """Return why a request is refused, or None if the policy allows it.

    Returns:
        `ForbiddenHost` if the `Host` header does not name the service, `ForbiddenOrigin` if the request comes
        from a page that does not belong to it, `Unauthorized` if a token is configured and that of the
        request is missing or wrong, `UnsupportedMediaType` if its body is not declared as JSON.
    """
    return (
        _refused_host(request, policy)
        or _refused_origin(request, policy)
        or _refused_token(request, policy)
        or _refused_content_type(request, policy)
    )


def is_open(path: str) -> bool:
    """Return whether requests for this path need no token."""
    return _OPEN_PATHS.fullmatch(path) is not None


def _refused_host(request: RequestHead, policy: AccessPolicy) -> errors.ForbiddenHost | None:
    hosts = request.values("host")
    address = _split_address(hosts[0]) if len(hosts) == 1 else None
    if address is not None and address[0] in policy.hosts:
        return None
    return errors.ForbiddenHost(
        "The Host header does not name this service: use localhost, or add the host name to "
        "DROVER_ALLOWED_HOSTS"
    )


def _refused_origin(request: RequestHead, policy: AccessPolicy) -> errors.ForbiddenOrigin | None:
    if any(site.strip().lower() not in _OWN_PAGES for site in request.values("sec-fetch-site")):
        return errors.ForbiddenOrigin(
            "The request comes from a page of another site (Sec-Fetch-Site): call the service from its "
            "own pages or from a program"
        )
    if not all(_is_own_origin(origin, policy) for origin in request.values("origin")):
        return errors.ForbiddenOrigin(
            "The Origin header names a page of another site: call the service from its own pages or from "
            "a program, or add the page's host to DROVER_ALLOWED_HOSTS"
        )
    return None


def _is_own_origin(origin: str, policy: AccessPolicy) -> bool:
    match = _ORIGIN.fullmatch(origin)
    address = _split_address(match["address"]) if match else None
    if match is None or address is None:
        return False
    name, given_port = address
    default_port = _DEFAULT_PORTS[match["scheme"].lower()]
    port = default_port if given_port is None else given_port
    if name in policy.hosts and port == policy.port:
        return True
    # A proxy entry without a port means the default port; a page on another port is another origin.
    return (name, port) in policy.proxies or ((name, None) in policy.proxies and port == default_port)


def _refused_token(request: RequestHead, policy: AccessPolicy) -> errors.Unauthorized | None:
    # A body would be waited for: a thousand that never end would shut the clients out, without any token.
    if policy.token is None or (is_open(request.path) and not request.has_body):
        return None
    expected = policy.token.encode("utf-8", "surrogatepass")
    # All candidates are compared, so that the time does not reveal which of them was close.
    matches = [hmac.compare_digest(token, expected) for token in _request_tokens(request)]
    if any(matches):
        return None
    return errors.Unauthorized(
        "The token is missing or wrong: send 'Authorization: Bearer <DROVER_API_TOKEN>'"
    )


def _request_tokens(request: RequestHead) -> list[bytes]:
    tokens = [] if request.query_token is None else [request.query_token.encode("utf-8", "surrogatepass")]
    for value in request.values("authorization"):
        scheme, _, credentials = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            tokens += _header_spellings(credentials.strip())
        elif scheme.lower() == "basic":
            tokens += _basic_password(credentials.strip())
    return tokens


def _header_spellings(text: str) -> list[bytes]:
    """Return the bytes that a header may mean: servers decode UTF-8 headers as Latin-1."""
    spellings = [text.encode("utf-8", "surrogatepass")]
    try:
        return [*spellings, text.encode("latin-1")]
    except UnicodeEncodeError:
        return spellings


def user_name(authorization: str | None) -> str:
    """Return the name that came with a token by Basic authentication; empty if there is none."""
    scheme, _, credentials = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return ""
    return _basic_credentials(credentials.strip())[0].decode(errors="replace")


def _basic_password(credentials: str) -> list[bytes]:
    _, colon, password = _basic_credentials(credentials)
    return [password] if colon else []


def _basic_credentials(credentials: str) -> tuple[bytes, bytes, bytes]:
    """Return name, colon and password; all empty if they are malformed."""
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b"", b""


def _refused_content_type(request: RequestHead, policy: AccessPolicy) -> errors.UnsupportedMediaType | None:
    if not request.has_body:
        return None
    if [value.partition(";")[0].strip().lower() for value in request.values("content-type")] == [_JSON]:
        return None
    return errors.UnsupportedMediaType(
        "Send the body as JSON: "
        f"curl -X {shlex.quote(request.method)} -H 'Content-Type: application/json' -d '{{...}}' "
        f"http://localhost:{policy.port}{quote(request.path, safe='/%-_.~', errors='replace')}"
    )


def split_host(host: str, port: int) -> tuple[str, int]:
    """Return name and port of a `Host` header; `localhost` if it is malformed, `port` if it has no port."""
    name, given = _split_address(host) or ("localhost", port)
    return name, port if given is None else given


@lru_cache(maxsize=256)
def _split_address(text: str) -> tuple[str, int | None] | None:
    """Parse `name`, `name:port`, `[ipv6]` or `[ipv6]:port` as (plain name, port); None if it is malformed."""
    match = _NAME_AND_PORT.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    if port is not None and port > _HIGHEST_PORT:
        return None
    return _plain_name(match["bracketed"] or match["name"]), port


def _plain_name(name: str) -> str:
    """Return the normal form of a host: lower case, no brackets, no final dot, short IPv6."""
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
            f"DROVER_ALLOWED_HOSTS has {entry!r}, which is not a host: use names or addresses, with or "
            "without a port, such as drover.example or drover.example:8443"
        )
    return address


def _token_or_none(token: str | None) -> str | None:
    if token is None:
        return None
    if not token.strip():
        raise errors.StartRefused("DROVER_API_TOKEN is blank: set it to a long random value, or unset it")
    return token.strip()


def reachable_host(host: str) -> str:
    """Return the host of URLs at which a service bound to `host` can be reached from this machine."""
    if is_loopback(host) or host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach a service that is bound to `host`."""
    name = _plain_name(host)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
