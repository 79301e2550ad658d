"""Response models: what the routes return, and the schemas of OpenAPI, with the meaning of each field.

A model is filled by field name from the values that the service works with. A class has one HTTP status, and
its docstring says when it is returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import Self

from drover.browser.health import Cause, HealthStatus
from drover.browser.recovery import Method
from drover.core import errors
from drover.core.errors import DroverError, ShuttingDown
from drover.core.logs import rfc3339
from drover.net.addresses import Addresses
from drover.sessions.pool.acquire_request import Acquired
from drover.sessions.pool.session import Session, SessionState
from drover.storage.cluster_values import Node
from drover.storage.session_history import HistoryEntry

RETRY_AFTER = "Seconds after which a retry may succeed"

Timestamp = Annotated[
    datetime, PlainSerializer(rfc3339, return_type=str), Field(examples=["2026-11-22T19:40:00.123Z"])
]
"""A time in UTC, in RFC 3339 format."""
Pid = Annotated[int, Field(description="Process id", examples=[4711])]
SessionIdField = Annotated[str, Field(examples=["session_3f9c0a1b2c4d"])]


def error_codes() -> Iterator[str]:
    """Yield every `code` that a response may have, some more than once."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, DroverError):
            yield kind.code


Filled = TypeVar("Filled", bound="ApiModel")


class ApiModel(BaseModel):
    """Base of all response bodies."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        from_attributes=True,
        use_attribute_docstrings=True,
        # Built at the first use: for all models it takes a tenth of the time of a start.
        defer_build=True,
    )
    status_code: ClassVar[int] = 200
    header_meanings: ClassVar[Mapping[str, str]] = {}

    def headers(self) -> dict[str, str]:
        """Return the headers of the response, which `header_meanings` describes."""
        return {}

    def json_object(self) -> dict[str, Any]:
        """Return the body; a field that was not set is absent."""
        return self.model_dump(mode="json", exclude_unset=True)

    @classmethod
    def filled(cls, source: object, **values: object) -> Self:
        """Return a model with these values, and with the attributes of `source` for all other fields."""
        rest = {name: getattr(source, name) for name in cls.model_fields if hasattr(source, name)}
        return cls.model_validate(rest | values)


class Success(ApiModel):
    """Base of the bodies of successful responses."""

    success: Literal[True] = Field(default=..., examples=[True])
    """Whether the request succeeded."""


class Failure(ApiModel):
    """The body of every failed request."""

    success: Literal[False] = Field(default=..., examples=[False])
    """Whether the request succeeded."""
    error: str = Field(examples=["field idle_timeout: Input should be a valid number"])
    """What happened and what to do about it, for people."""
    code: str = Field(json_schema_extra={"enum": [*sorted(set(error_codes()))]}, examples=["invalid_request"])
    """Error code, for programs."""
    details: dict[str, str] = Field(default={}, examples=[{"idle_timeout": "Input should be a valid number"}])
    """What is wrong with each field, by field name; present if fields or parameters are the cause."""


class RecoveryObject(ApiModel):
    """How a session was recovered."""

    cause: Cause = Field(examples=["driver_gone"])
    """What was found dead or hung."""
    method: Method = Field(examples=["reattached"])
    """What was kept: the running browser, its saved state in a new browser, or nothing."""
    orphans_killed: int = Field(examples=[0])
    """Orphaned processes that the cleanup before the recovery ended."""
    duration_ms: int = Field(examples=[131])
    """Milliseconds from finding the session dead until it was ready again."""
    lost: list[str] = Field(examples=[["dialog:alert"]])
    """What was lost although `method` keeps it: `dialog:<type>` is an open dialog that was answered,
    `page:<url>` a page that was reloaded, `popup:<url>` one that was closed, `profile` the profile, and
    `cookies` or `storage:<origin>` saved state that could not be put back."""
    state_restored: bool = Field(examples=[True])
    """Whether all saved cookies and local storage were put back; if not, what was saved is kept."""


class HealthObject(ApiModel):
    """The result of the last health check of a session."""

    status: HealthStatus = Field(examples=["healthy"])
    """Health status; `busy` means alive, with a command running."""
    reason: str | None = Field(examples=[None])
    """Why the session is not healthy, for people; null if it is."""
    checked_at: Timestamp | None = Field(examples=["2026-11-22T19:40:00.123Z"])
    """Time of the last check."""
    latency_ms: int | None = Field(examples=[3])
    """Duration of the check in milliseconds."""


class LeaseObject(ApiModel):
    """A lease: who holds a session, and until when."""

    holder: str | None = Field(examples=["nightly-report"])
    """Name that the holder chose for itself."""
    expires_at: Timestamp
    """Time at which the lease expires unless it is renewed."""


class GrantedLease(ApiModel):
    """A lease with its token, which only the client that was granted the lease receives."""

    holder: str | None = Field(examples=["nightly-report"])
    """Name that the holder chose for itself."""
    token: str = Field(examples=["2xUqgW1nX0dR7s8Zk3o5bQJ4mVt6yHfL"])
    """Secret that renews or ends the lease; send it in the header `Lease-Token`."""
    expires_at: Timestamp
    """Time at which the lease expires unless it is renewed."""


class KeepAliveObject(ApiModel):
    """A page that is visited regularly so that a login does not expire."""

    url: str = Field(examples=["https://example.org/account"])
    """URL of the page."""
    interval: float = Field(examples=[300])
    """Seconds between two visits."""


class DriverObject(ApiModel):
    """The ChromeDriver of a session; a recovery may replace it."""

    pid: Pid
    url: str = Field(examples=["http://127.0.0.1:41234"])
    """Address that it listens on, reachable from this machine only."""
    session_id: str = Field(examples=["0f3a5b9c7d1e4f60a2b4c6d8e0f1a3b5"])
    """Id of the session inside this ChromeDriver."""


class BrowserObject(ApiModel):
    """The browser of a session; a recovery may replace it."""

    pid: Pid
    version: str = Field(examples=["156.0.8078.79"])
    """Version of Chrome."""
    debugger_address: str = Field(examples=["127.0.0.1:39999"])
    """Address of its DevTools, reachable from this machine only."""


class IgnoredObject(ApiModel):
    """Something that a client asked for and that was set aside."""

    name: str = Field(examples=["no-sandbox"])
    """Its name: of a switch, a preference, an option of Chrome or a capability."""
    reason: str = Field(examples=["whoever runs Drover decides about Chrome's sandbox"])
    """Why it was set aside."""


class NodeBrief(ApiModel):
    """The machine that has a session."""

    name: str = Field(examples=["a"])
    """Its name."""
    url: str = Field(examples=["http://127.0.0.1:5010"])
    """The address at which the other machines reach it."""


class SessionObject(ApiModel):
    """A session."""

    session_id: SessionIdField
    """Stable id; it never changes."""
    key: str | None = Field(examples=["account-17"])
    """Persistent name that the client chose."""
    state: SessionState = Field(examples=["ready"])
    """State in the life cycle of the session."""
    in_use: bool = Field(examples=[True])
    """Whether a lease is held, a command runs, or a CDP or BiDi socket is open."""
    created_at: Timestamp
    """Time at which the session was requested."""
    last_used: Timestamp
    """Time of the last use; health checks and viewing do not count."""
    idle_timeout: float = Field(examples=[1800])
    """Seconds without use after which the session is closed; 0 = never."""
    keep_alive: KeepAliveObject | None
    """Page that is visited while the session is not in use."""
    lease: LeaseObject | None
    """Current lease, without its token."""
    recoveries: int = Field(examples=[1])
    """Number of recoveries so far."""
    last_recovery: RecoveryObject | None
    """The most recent recovery."""
    health: HealthObject
    """Result of the last health check."""
    current_url: str | None = Field(examples=["https://example.org/"])
    """URL of the page in the foreground, as last seen."""
    memory_mb: float | None = Field(examples=[312.4])
    """Memory of its processes, in units of 1,000,000 bytes; measured every five minutes."""
    driver: DriverObject | None
    """Its ChromeDriver; null until one has started."""
    browser: BrowserObject | None
    """Its browser; null until one has started."""
    webdriver_url: str | None = Field(examples=["http://localhost:5010/wd/hub"])
    """Address for WebDriver clients; it stays valid when ChromeDriver is replaced."""
    cdp_url: str | None = Field(examples=["ws://localhost:5010/sessions/session_3f9c0a1b2c4d/cdp"])
    """Address for CDP clients."""
    profile: Literal["fresh", "keep"] = Field(examples=["fresh"])
    """Whether the whole profile is kept for its key when it ends."""
    ignored: list[IgnoredObject] = Field(
        examples=[[{"name": "no-sandbox", "reason": "the operator decides about Chrome's sandbox"}]]
    )
    """What of the requested capabilities was set aside, and why."""
    node: NodeBrief | SkipJsonSchema[None] = None
    """The machine that has the session; absent if there is only one."""
    as_of: Timestamp | SkipJsonSchema[None] = None
    """In a list, when this copy of a session of another machine was read; otherwise absent."""

    @classmethod
    def of(cls, session: Session, addresses: Addresses) -> SessionObject:
        """Return a session as clients see it, with the addresses at which drivers reach it."""
        running, health = session.running, session.health
        node = {"node": NodeBrief(name=addresses.node, url=addresses.service)} if addresses.node else {}
        return cls.filled(
            session,
            health=HealthObject.filled(health, reason=health.reason or session.notice),
            driver=running
            and DriverObject(
                pid=running.driver.pid, url=running.driver_url, session_id=running.driver_session_id
            ),
            browser=running
            and BrowserObject(
                pid=running.browser.pid,
                version=running.browser_version,
                debugger_address=running.debugger_address,
            ),
            webdriver_url=addresses.webdriver,
            cdp_url=addresses.cdp(session.session_id),
            profile="keep" if session.keeps_profile else "fresh",
            ignored=session.capabilities.ignored,
            **node,
        )


class SessionAnswer(Success):
    """The session, which existed before."""

    created: bool = Field(examples=[False])
    """Whether the session is new."""
    recovered: bool = Field(examples=[True])
    """Whether the session was dead and was recovered for this request."""
    recovery: RecoveryObject | None
    """How it was recovered; null if it was not."""
    session: SessionObject
    """The session."""
    session_id: SessionIdField
    """Id of the session."""
    lease: GrantedLease | SkipJsonSchema[None] = None
    """The lease, if the request asked for one; otherwise the field is absent."""

    @classmethod
    def of(cls, acquired: Acquired, addresses: Addresses) -> SessionAnswer:
        """Return the answer for a session that was found, recovered or created."""
        lease = {"lease": acquired.lease} if acquired.lease is not None else {}
        return (SessionCreated if acquired.created else SessionAnswer).model_validate(
            {
                "success": True,
                "created": acquired.created,
                "recovered": acquired.recovery is not None,
                "recovery": acquired.recovery,
                "session": SessionObject.of(acquired.session, addresses),
                "session_id": acquired.session.session_id,
            }
            | lease
        )


class SessionCreated(SessionAnswer):
    """The session, which is new."""

    status_code = 201
    header_meanings = {"Location": "Path of the session"}

    def headers(self) -> dict[str, str]:
        """Return the session's path."""
        return {"Location": f"/sessions/{self.session_id}"}


class ClusterSums(ApiModel):
    """The sums over all living machines."""

    active_sessions: int = Field(examples=[7])
    """Number of sessions."""
    max_sessions: int = Field(examples=[30])
    """Maximum number of sessions."""


class SessionList(Success):
    """All sessions, as currently known."""

    active_sessions: int = Field(examples=[3])
    """Number of sessions."""
    max_sessions: int = Field(examples=[10])
    """Maximum number of sessions."""
    session_capacity: str = Field(examples=["3/10"])
    """Both numbers as one text."""
    sessions: list[SessionObject]
    """The sessions, oldest first (of several machines, those of the one that is asked, then the others');
    ordered by their ids if the request has `limit` or `after`."""
    next: SessionIdField | None = None
    """What to pass as `after` for the next page, null on the last one; absent without `limit`."""
    cluster: ClusterSums | SkipJsonSchema[None] = None
    """The sums over all machines; absent if there is only one."""
    incomplete: Literal[True] | SkipJsonSchema[None] = None
    """The copy of other machines' sessions is old, because the database does not answer; otherwise absent."""


class HistoryObject(ApiModel):
    """Something that happened to a session; a field that does not apply is null."""

    time: Timestamp
    """When it happened."""
    event: str = Field(examples=["recovered"])
    """What happened: `created`, `adopted`, `found_dead`, `recycling`, `recovered`, `recovery_failed`,
    `evicted`, `closed`, `start_failed`, `not_adopted` or `trouble`."""
    text: str = Field(examples=["Session first recovered: reattached after driver_gone in 131 ms"])
    """The same, for people."""
    cause: str | None = Field(examples=["driver_gone"])
    """What a recovery was for."""
    method: str | None = Field(examples=["reattached"])
    """How the session was recovered."""
    duration_ms: int | None = Field(examples=[131])
    """How long the start or the recovery took, in milliseconds."""
    reason: str | None = Field(examples=[None])
    """Why the session was closed: `deleted`, `quit`, `idle`, `evicted` or `stopping`."""
    client: str | None = Field(examples=["127.0.0.1:40112"])
    """Address of the client whose request led to it; null if the service did it by itself."""
    request_id: str | None = Field(examples=["b2c4d"])
    """That request, as the log names it."""


class SessionHistoryAnswer(Success):
    """What has happened to a session, the oldest entry first."""

    session_id: SessionIdField
    """Id of the session."""
    state: SessionState | Literal["ended"] = Field(examples=["ready"])
    """State of the session; `ended` if it exists no more."""
    history: list[HistoryObject]
    """The entries; of more than 200, the first and the newest."""

    @classmethod
    def of(
        cls, session_id: str, session: Session | None, entries: Sequence[HistoryEntry]
    ) -> SessionHistoryAnswer:
        """Return the history of a session.

        Args:
            session_id: Its id.
            session: The session, if it exists.
            entries: What is known; of one that an earlier version has created, that may be nothing.
        """
        if not entries and session is not None:
            entries = [HistoryEntry(session.created_at, "created", f"Session {session_id} created")]
        return cls(
            success=True,
            session_id=session_id,
            state=session.state if session is not None else "ended",
            history=[HistoryObject.filled(one) for one in entries],
        )


class SessionClosedAnswer(Success):
    """The session is closed; all its processes were verified to be gone."""

    message: str = Field(examples=["Session session_3f9c0a1b2c4d closed"])
    """The result, for people."""
    session_id: SessionIdField
    """Id of the closed session."""
    active_sessions: int = Field(examples=[2])
    """Number of remaining sessions."""


class LeaseAnswer(Success):
    """The lease was granted or renewed."""

    lease: GrantedLease
    """The lease."""


class LeaseEnded(Success):
    """The lease was released."""

    message: str = Field(examples=["Lease of session session_3f9c0a1b2c4d released"])
    """The result, for people."""
    session_id: SessionIdField
    """Id of the session."""


class _Health(ApiModel):
    """Base of the answers to health checks of the service."""

    success: bool = Field(examples=[True])
    """Whether the service is healthy."""
    status: Literal["healthy", "unhealthy"] = Field(default=..., examples=["healthy"])
    """The same as a word."""
    service: Literal["drover"] = Field(default=..., examples=["drover"])
    """Name of the service."""
    version: str = Field(examples=["1.0.0"])
    """Version of the service."""
    active_sessions: int = Field(examples=[3])
    """Number of sessions."""
    max_sessions: int = Field(examples=[10])
    """Maximum number of sessions."""
    session_capacity: str = Field(examples=["3/10"])
    """Both numbers as one text."""
    warm: int = Field(examples=[0])
    """Number of warm browsers that are ready to be handed out."""
    persistent_sessions: int = Field(examples=[1])
    """Number of sessions with a key."""
    uptime_s: float = Field(examples=[86400.0])
    """Seconds since the service started."""
    timestamp: Timestamp
    """Current time of the service."""


class ServiceHealth(_Health):
    """The service can hand out browsers."""


class ServiceUnhealthy(_Health):
    """The service cannot hand out browsers; `reason` says why."""

    status_code = 503
    reason: str = Field(examples=["the service is stopping"])
    """Why the service is unhealthy."""


class ServiceReady(Success):
    """The service accepts new sessions."""

    status: Literal["ready"] = Field(default=..., examples=["ready"])
    """The same as a word."""
    active_sessions: int = Field(examples=[3])
    """Number of sessions."""


NotReadyCode = Literal["browser_unavailable", "shutting_down", "storage_unavailable"]


class ServiceNotReady(ApiModel):
    """The service is starting, draining or stopping, or has lost the database: it accepts no new sessions."""

    status_code = ShuttingDown.status
    header_meanings = {"Retry-After": RETRY_AFTER}

    success: Literal[False] = Field(default=..., examples=[False])
    """Whether new sessions are accepted."""
    error: str = Field(examples=["The service is draining and accepts no new sessions; use another one"])
    """What happened and what to do about it, for people."""
    code: NotReadyCode = Field(default=..., examples=["shutting_down"])
    """Error code, for programs."""
    status: Literal["starting", "draining", "stopping", "without_database"] = Field(
        default=..., examples=["draining"]
    )
    """What the service does instead."""
    active_sessions: int = Field(examples=[3])
    """Number of sessions that are left."""

    def headers(self) -> dict[str, str]:
        """Return when to retry."""
        return {"Retry-After": str(ShuttingDown.retry_after_s)}


class NodeObject(NodeBrief):
    """A machine of the service."""

    state: Literal["up", "draining", "lost"] = Field(default=..., examples=["up"])
    """Whether it takes sessions, lets them end, or was silent for too long."""
    sessions: int = Field(examples=[3])
    """Number of its sessions."""
    max_sessions: int = Field(examples=[10])
    """Maximum number of its sessions."""
    seen_at: Timestamp
    """Time of its last sign of life, by the clock of the database."""
    version: str = Field(examples=["1.0.0"])
    """Its version of Drover."""

    @classmethod
    def of(cls, node: Node) -> NodeObject:
        """Return a node as clients see it."""
        return cls.filled(node, state=node.state.value, sessions=node.load.sessions)


class NodeList(Success):
    """The machines of the service."""

    nodes: list[NodeObject]
    """The machines; only this one without `DROVER_DATABASE_URL`."""


class DrainAnswer(Success):
    """A drain has begun, now or before."""

    message: str = Field(examples=["Draining: 3 sessions go on for at most 60 s; then the service stops"])
    """What happens now, for people."""
    status: Literal["draining"] = Field(default=..., examples=["draining"])
    """The status that `GET /ready` returns from now on."""
    active_sessions: int = Field(examples=[3])
    """Number of sessions that go on."""
    remaining_s: float = Field(examples=[60.0])
    """Seconds after which the service stops, whether they have ended or not."""


class W3cAnswer(ApiModel):
    """The response to every WebDriver command."""

    value: Any = Field(examples=[None])
    """Result of the command; if it failed, an object with `error`, `message` and `stacktrace`."""


class W3cError(ApiModel):
    """Why a WebDriver command failed."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(examples=["no such element"])
    """Error code of W3C WebDriver."""
    message: str = Field(examples=["no such element: Unable to locate element"])
    """What happened, for people."""
    stacktrace: str = Field(examples=[""])
    """Stack trace of ChromeDriver; empty if the error comes from the service."""


class W3cFailure(ApiModel):
    """The response to every WebDriver command that failed."""

    value: W3cError
    """The error; if it comes from the service, `data.code` is the error code of all other routes."""
