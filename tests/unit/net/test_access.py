"""Access control: which requests are allowed, and which error refuses the others."""

from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.core.errors import (
    DroverError,
    ForbiddenHost,
    ForbiddenOrigin,
    StartRefused,
    Unauthorized,
    UnsupportedMediaType,
)
from drover.net import access
from drover.net.access import AccessPolicy, RequestHead

OPEN = access.access_policy("127.0.0.1", 5010, (), None)
LOCKED = access.access_policy("127.0.0.1", 5010, (), "s3cret")
PROXIED = access.access_policy("10.0.0.5", 5010, ("drover.example", "Other.Example:8443"), "s3cret")


def head(
    method: str = "GET",
    path: str = "/sessions",
    host: str | None = "localhost:5010",
    *,
    query_token: str | None = None,
    has_body: bool = False,
    **headers: str | None,
) -> RequestHead:
    """Return the head of a request; a header of None is not sent."""
    sent = {"host": host, "content-length": "2" if has_body else None} | headers
    pairs = ((name.replace("_", "-"), value) for name, value in sent.items() if value is not None)
    return RequestHead(method, path, tuple(pairs), query_token)


def authorize(request: RequestHead, policy: AccessPolicy) -> None:
    """Raise the refusal of a request."""
    refused = access.refusal(request, policy)
    if refused is not None:
        raise refused


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost:5010",
        "localhost",
        "LOCALHOST:5010",
        "localhost.:5010",
        "localhost:8080",
        "127.0.0.1:5010",
        "[::1]:5010",
        "[::1]",
        "[0:0:0:0:0:0:0:1]:5010",
    ],
)
def test_a_host_header_that_names_this_machine_is_let_in(host: str) -> None:
    authorize(head(host=host), OPEN)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        " ",
        ":5010",
        "evil.example",
        "evil.example:5010",
        "localhost.evil.example:5010",
        "localhost:5010, evil.example",
        "localhost:5010,localhost:5010",
        "localhost@evil.example",
        "evil.example@localhost:5010",
        "localhost:5010/",
        "http://localhost:5010",
        "localhost:",
        "localhost:abc",
        "localhost:65536",
        "localhost:5010:5010",
        "localhost..",
        "::1",
        "[::1",
        "[127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "0.0.0.0:5010",
        "localhost\n",
        "localhost\x00",
        "\u217cocalhost",
        "*",
    ],
)
def test_a_host_header_that_names_anything_else_is_refused(host: str | None) -> None:
    with pytest.raises(ForbiddenHost, match="DROVER_ALLOWED_HOSTS"):
        authorize(head(host=host), OPEN)


@pytest.mark.parametrize(
    "host", ["drover.example", "drover.example:443", "other.example", "10.0.0.5:5010", "localhost"]
)
def test_the_bound_address_and_the_operators_hosts_are_ours(host: str) -> None:
    authorize(head("GET", "/health", host), PROXIED)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:5010",
        "HTTP://LocalHost:5010",
        "https://localhost:5010",
        "http://127.0.0.1:5010",
        "http://[::1]:5010",
    ],
)
def test_a_page_of_ours_is_let_in(origin: str) -> None:
    authorize(head(origin=origin), OPEN)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://localhost",
        "http://localhost:3000",
        "http://evil.example",
        "http://evil.example:5010",
        "http://localhost.evil.example:5010",
        "http://localhost:5010.evil.example",
        "http://localhost:5010@evil.example",
        "http://localhost:5010/",
        "http://localhost:5010 http://evil.example",
        "http://localhost:5010, http://evil.example",
        "file://",
        "file://localhost:5010",
        "chrome-extension://localhost:5010",
        "ws://localhost:5010",
        "//localhost:5010",
        "localhost:5010",
        "http://",
        "http://:5010",
        "http://localhost:5010\n",
    ],
)
def test_a_foreign_origin_is_refused(origin: str) -> None:
    with pytest.raises(ForbiddenOrigin):
        authorize(head(origin=origin), OPEN)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://drover.example", True),
        ("http://drover.example", True),
        ("https://drover.example:443", True),
        ("https://drover.example:5010", True),
        ("https://drover.example:3000", False),
        ("https://sub.drover.example", False),
        ("https://other.example:8443", True),
        ("https://other.example", False),
        ("https://other.example:9443", False),
        ("http://10.0.0.5:5010", True),
        ("http://10.0.0.5", False),
    ],
)
def test_a_proxys_page_is_known_by_its_name_and_its_port(origin: str, allowed: bool) -> None:
    incoming = head("GET", "/health", "drover.example", origin=origin)
    if allowed:
        authorize(incoming, PROXIED)
    else:
        with pytest.raises(ForbiddenOrigin):
            authorize(incoming, PROXIED)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "site", ["cross-site", "same-site", "Cross-Site", "", "unheard-of", "same-origin, cross-site"]
)
def test_a_request_that_the_browser_calls_foreign_is_refused_whatever_the_method(
    method: str, site: str
) -> None:
    with pytest.raises(ForbiddenOrigin):
        authorize(head(method=method, sec_fetch_site=site), OPEN)


@pytest.mark.parametrize("site", [None, "same-origin", "none", "None "])
def test_our_own_origin_and_requests_without_one_are_accepted(site: str | None) -> None:
    authorize(head(sec_fetch_site=site), OPEN)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer s3cret",
        "bearer  s3cret ",
        basic("drover:s3cret"),
        basic(":s3cret"),
        basic("anybody:s3cret").replace("Basic", "BASIC"),
    ],
)
def test_the_token_opens_as_bearer_or_as_a_password(authorization: str) -> None:
    authorize(head(authorization=authorization), LOCKED)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer s3cre",
        "Bearer s3crets",
        "Bearer S3CRET",
        "Bearer s3cret, Bearer s3cret",
        "s3cret",
        "Token s3cret",
        "Basic",
        "Basic !!!",
        "Basic s3cret",
        "Basic \ud800é",
        basic("s3cret"),
        basic("s3cret:"),
        basic("drover:wrong"),
        basic("drover:s3cret:"),
        "Bearer \ud800",
        "Bearer €",
    ],
)
def test_anything_but_the_token_is_unauthorized(authorization: str | None) -> None:
    with pytest.raises(Unauthorized, match="Bearer"):
        authorize(head(authorization=authorization), LOCKED)


@pytest.mark.parametrize(
    "authorization",
    ["Bearer schlüssel€", "Bearer " + "schlüssel€".encode().decode("latin-1"), basic("x:schlüssel€")],
)
def test_a_token_beyond_ascii_is_known_however_the_server_decodes_headers(authorization: str) -> None:
    policy = access.access_policy("127.0.0.1", 5010, (), "schlüssel€")
    authorize(head(authorization=authorization), policy)


def test_a_token_in_the_query_is_accepted_if_the_route_allows_it() -> None:
    authorize(head(query_token="s3cret"), LOCKED)
    with pytest.raises(Unauthorized):
        authorize(head(query_token="wrong"), LOCKED)


def test_every_token_shown_is_compared_in_constant_time_also_after_one_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []

    def compare(shown: bytes, expected: bytes) -> bool:
        compared.append(shown)
        return in_constant_time(shown, expected)

    in_constant_time = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    authorize(head(query_token="s3cret", authorization=basic("me:wrong")), LOCKED)
    assert compared == [b"s3cret", b"wrong"]


@pytest.mark.parametrize(
    ("path", "is_open"),
    [
        ("/health", True),
        ("/health/", True),
        ("/", False),
        ("/healthy", False),
        ("/health/x", False),
        ("//health", False),
        ("/HEALTH", False),
        ("/sessions/health", False),
        ("/bidi/secret", True),
        ("/cdp/secret", True),
        ("/bidi/", False),
        ("/bidi/secret/x", False),
    ],
)
def test_only_health_and_secret_addresses_are_open_without_the_token(path: str, is_open: bool) -> None:
    if is_open:
        authorize(head(path=path), LOCKED)
    else:
        with pytest.raises(Unauthorized):
            authorize(head(path=path), LOCKED)


@pytest.mark.parametrize("path", ["/health", "/bidi/secret", "/cdp/secret"])
def test_a_request_with_a_body_needs_the_token_everywhere(path: str) -> None:
    with pytest.raises(Unauthorized):
        authorize(head(path=path, has_body=True, content_type="application/json"), LOCKED)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_a_body_of_json_is_let_in(content_type: str) -> None:
    authorize(head(method="POST", has_body=True, content_type=content_type), OPEN)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "application/json, text/plain",
        "application/jsonp",
        "json",
    ],
)
def test_a_body_of_another_type_is_refused_with_a_working_curl_command(content_type: str | None) -> None:
    incoming = head("POST", "/sessions", "localhost:5010", has_body=True, content_type=content_type)
    with pytest.raises(UnsupportedMediaType) as refused:
        authorize(incoming, OPEN)
    line = "curl -X POST -H 'Content-Type: application/json' -d '{...}' http://localhost:5010/sessions"
    assert line in refused.value.message


def test_no_body_needs_no_type() -> None:
    authorize(head(method="POST", content_type="text/plain"), OPEN)


def test_the_curl_command_cannot_be_injected_through_the_path() -> None:
    incoming = head("X;id", "/a b';$(id)\n`\ud800", "localhost", has_body=True)
    with pytest.raises(UnsupportedMediaType) as refused:
        authorize(incoming, OPEN)
    line = refused.value.message
    assert "-X 'X;id'" in line
    assert not set("$`\n()") & set(line.partition("http://")[2])


@pytest.mark.parametrize(
    ("incoming", "error"),
    [
        (
            head("POST", "/x", "evil", origin="null", sec_fetch_site="cross-site", has_body=True),
            ForbiddenHost,
        ),
        (head("POST", "/x", "localhost", origin="null", has_body=True), ForbiddenOrigin),
        (head("POST", "/health", "localhost", sec_fetch_site="cross-site"), ForbiddenOrigin),
        (head("POST", "/x", "localhost", has_body=True), Unauthorized),
        (
            head("POST", "/x", "localhost", authorization="Bearer s3cret", has_body=True),
            UnsupportedMediaType,
        ),
    ],
)
def test_checks_run_in_the_order_host_origin_token_type(
    incoming: RequestHead, error: type[DroverError]
) -> None:
    with pytest.raises(error):
        authorize(incoming, LOCKED)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.9", "::1", "[::1]", "localhost", "LOCALHOST", "localhost."]
)
def test_a_loopback_address_needs_no_token(host: str) -> None:
    access.check_bind(host, None)


EVERYWHERE = "0.0.0.0"  # noqa: S104 - the address that needs a token most


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "", "192.168.1.5", "drover.example", "127.evil.example"])
def test_any_other_address_needs_one(host: str) -> None:
    access.check_bind(host, "s3cret")
    with pytest.raises(StartRefused, match=r"DROVER_HOST.*DROVER_API_TOKEN"):
        access.check_bind(host, None)


@pytest.mark.parametrize("token", ["", "  "])
def test_a_blank_token_prevents_the_start(token: str) -> None:
    with pytest.raises(StartRefused, match="DROVER_API_TOKEN"):
        access.check_bind("127.0.0.1", token)
    with pytest.raises(StartRefused, match="DROVER_API_TOKEN"):
        access.access_policy("127.0.0.1", 5010, (), token)


@pytest.mark.parametrize(
    "entry", ["*", "http://drover.example", "a b", "drover.example/", "x:99999", "*.example"]
)
def test_an_allowed_host_that_is_none_stops_the_start(entry: str) -> None:
    with pytest.raises(StartRefused, match="DROVER_ALLOWED_HOSTS"):
        access.access_policy("127.0.0.1", 5010, [entry], None)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("Drover.Example", ("drover.example", None)),
        (" drover.example:8443 ", ("drover.example", 8443)),
        ("2001:DB8::0:1", ("2001:db8::1", None)),
        ("[2001:db8::1]:8443", ("2001:db8::1", 8443)),
    ],
)
def test_allowed_hosts_have_one_spelling(entry: str, expected: tuple[str, int | None]) -> None:
    policy = access.access_policy("127.0.0.1", 5010, [entry, ""], None)
    assert policy.proxies == {expected}
    assert policy.hosts == {"localhost", "127.0.0.1", "::1", expected[0]}


@pytest.mark.parametrize(
    "origins",
    [
        ("http://localhost:5010", "https://evil.example"),
        ("https://evil.example", "http://localhost:5010"),
        ("http://localhost:5010", "null"),
    ],
)
def test_of_several_origins_each_must_be_ours(origins: tuple[str, str]) -> None:
    pairs = (("host", "localhost:5010"), *(("origin", origin) for origin in origins))
    with pytest.raises(ForbiddenOrigin):
        authorize(RequestHead("GET", "/sessions", pairs), OPEN)


def test_several_hosts_name_no_service() -> None:
    pairs = (("host", "localhost:5010"), ("host", "evil.example"))
    with pytest.raises(ForbiddenHost):
        authorize(RequestHead("GET", "/sessions", pairs), OPEN)


@pytest.mark.parametrize(
    ("headers", "has_body"),
    [
        ((), False),
        ((("content-length", "0"),), False),
        ((("content-length", "00"),), False),
        ((("content-length", "1"),), True),
        ((("transfer-encoding", "chunked"),), True),
        ((("content-length", "0"), ("transfer-encoding", "chunked")), True),
    ],
)
def test_a_body_is_announced_by_its_length_or_its_encoding(
    headers: tuple[tuple[str, str], ...], has_body: bool
) -> None:
    assert RequestHead("POST", "/sessions", headers).has_body is has_body


def test_no_secret_shows_in_a_repr() -> None:
    incoming = head(authorization="Bearer s3cret", query_token="s3cret")
    assert "s3cret" not in repr(incoming) + repr(LOCKED)


HEADERS = st.text() | st.sampled_from(["localhost", "http://localhost:5010", "Bearer s3cret", "Basic e"])
NAMES = st.sampled_from(
    ["host", "origin", "sec-fetch-site", "authorization", "content-type", "content-length"]
)
REQUESTS = st.builds(
    RequestHead, st.text(), st.text(), st.lists(st.tuples(NAMES, HEADERS), max_size=9).map(tuple), HEADERS
)


@given(REQUESTS, st.sampled_from([OPEN, LOCKED, PROXIED]))
def test_random_requests_are_accepted_or_refused_without_an_exception(
    incoming: RequestHead, policy: AccessPolicy
) -> None:
    try:
        authorize(incoming, policy)
    except DroverError as refusal:
        assert refusal.status in {401, 403, 415}  # noqa: PT017 - most requests are refused, some are not
