"""Request models for sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, HttpUrl, TypeAdapter, model_validator

from drover.api.session_answers import SessionObject
from drover.api.validation import Strict
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.core.errors import InvalidRequest, RequestTooLarge
from drover.sessions.pool.acquire_request import AcquireRequest
from drover.sessions.pool.session import MAX_HOLDER, SESSION_ID, KeepAlive, Session, SessionState

LEASE_TOKEN = "Lease-Token"  # noqa: S105 - the name of a header
MAX_LEASE_S = 7 * 24 * 3600
MAX_BODY_BYTES = 1024 * 1024
MAX_BODY_WITH_EXTENSIONS_BYTES = 48 * 1024 * 1024
"""Maximum body of a request for a new session that has packed extensions in base64."""

_HTTP_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl, config=ConfigDict(defer_build=True))


def _session_id(value: str) -> str:
    if not SESSION_ID.fullmatch(value):
        raise ValueError("use 1 to 64 letters, digits, `_` or `-`, and begin with a letter or digit")
    return value


def _http_url(value: str) -> str:
    _HTTP_URL.validate_python(value)
    return value


SessionName = Annotated[
    str,
    AfterValidator(_session_id),
    Field(json_schema_extra={"pattern": f"^{SESSION_ID.pattern}$"}, examples=["first"]),
]
Url = Annotated[
    str,
    AfterValidator(_http_url),
    Field(json_schema_extra={"format": "uri"}, examples=["https://example.org/"]),
]


Key = Annotated[str, Field(min_length=1, max_length=256, examples=["account-17"])]


class KeepAliveRequest(Strict):
    """A page to visit in a background tab every `interval` seconds while the session is not in use."""

    url: Url
    """URL of the page."""
    interval: Annotated[float, Field(ge=1, examples=[300])]
    """Seconds between two visits."""


class LeaseRequest(Strict):
    """A lease of `ttl` seconds."""

    ttl: Annotated[float, Field(gt=0, le=MAX_LEASE_S, examples=[60])]
    """Seconds until the lease expires unless it is renewed."""
    holder: Annotated[str, Field(min_length=1, max_length=MAX_HOLDER, examples=["nightly-report"])] | None = (
        None
    )
    """Name of the holder, shown to people."""


class SessionRequest(Strict):
    """The body of `POST /sessions`; every field is optional."""

    session_id: SessionName | None = None
    """Return the session with this id, or create it under this id."""
    key: Key | None = None
    """Persistent mapping: the same key always leads to the same session."""
    url: Url | None = None
    """First page; opened only when the session is created."""
    capabilities: dict[str, Any] | None = Field(default=None, examples=[{"pageLoadStrategy": "eager"}])
    """W3C capabilities as in `alwaysMatch`; docs/capabilities.md lists what becomes of each."""
    idle_timeout: Annotated[float, Field(ge=0, examples=[1800])] | None = None
    """Seconds without use after which the session is closed; 0 = never; default from the settings."""
    keep_alive: KeepAliveRequest | None = None
    """A page to visit in a background tab while the session is not in use."""
    lease: LeaseRequest | None = None
    """Lease the session to the client of this request."""
    profile: Literal["fresh", "keep"] | None = Field(default=None, examples=["keep"])
    """`keep`: when the session ends, its whole profile (IndexedDB, service workers, permissions, passwords)
    is kept for the next session of its key; default from the settings."""

    @model_validator(mode="after")
    def _profiles_are_kept_for_keys(self) -> SessionRequest:
        if self.profile == "keep" and self.key is None:
            raise ValueError("profile keep needs a key: send the key that the profile is kept for")
        return self


class ListQuery(Strict):
    """The parameters of `GET /sessions`."""

    key: Key | None = None
    """Return only the session with this key."""
    state: SessionState | None = None
    """Return only the sessions in this state."""
    limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Return at most so many sessions, ordered by their ids; `next` is then what to pass as `after`."""
    after: SessionName | None = None
    """Return the sessions whose ids come after this one, ordered by their ids."""


class LookQuery(Strict):
    """The parameters of `GET /sessions/{id}` and of `GET /sessions/{id}/screenshot`."""

    recover: bool = True
    """Recover the session if it is dead; `false` only looks at it, and restores nothing."""


class CloseQuery(Strict):
    """The parameters of `DELETE /sessions/{id}`."""

    keep: bool = False
    """Keep the session's cookies, storage and address for the next session of its key."""

    def check(self, session_id: str, key: str | None) -> None:
        """Check that a session has a key to keep its state for, if that is wanted.

        Raises:
            InvalidRequest: It has none.
        """
        if self.keep and key is None:
            raise InvalidRequest(f"Session {session_id} has no key to keep its state for. Omit keep=true.")


def selected(
    sessions: Iterable[Session | SessionObject], query: ListQuery
) -> tuple[list[Session | SessionObject], str | None]:
    """Return the sessions that a query asks for, and the last id of the page if more follow.

    Pages are ordered by id, so that sessions that come and go between two pages make none appear twice.
    """
    found = [
        one
        for one in sessions
        if query.key in {None, one.key} and query.state in {None, one.state}
        if query.after is None or one.session_id > query.after
    ]
    if query.limit is None and query.after is None:
        return found, None
    found.sort(key=lambda one: one.session_id)
    page = found[: query.limit]
    return page, page[-1].session_id if len(page) < len(found) else None


def check_size(body: bytes) -> None:
    """Raise if the body of a request for a new session is large without a reason.

    Raises:
        RequestTooLarge: It is larger than `MAX_BODY_BYTES`, and has no extensions.
    """
    if len(body) > MAX_BODY_BYTES and b'"extensions"' not in body:
        raise RequestTooLarge("The body is too large. Send a smaller one.")


def request_of(
    body: SessionRequest,
    checked: CheckedCapabilities,
    token: str | None,
    *,
    ends_with_last_window: bool = False,
) -> AcquireRequest:
    """Return the request that a body, its checked capabilities and a lease token amount to."""
    return AcquireRequest(
        session_id=body.session_id,
        key=body.key,
        url=body.url,
        capabilities=checked,
        idle_timeout=body.idle_timeout,
        keep_alive=KeepAlive(body.keep_alive.url, body.keep_alive.interval) if body.keep_alive else None,
        lease_s=body.lease.ttl if body.lease else None,
        holder=body.lease.holder if body.lease else None,
        token=token,
        ends_with_last_window=ends_with_last_window,
        keeps_profile=None if body.profile is None else body.profile == "keep",
    )
