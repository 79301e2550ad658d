"""Response models: the OpenAPI schemas, with the meaning and an example of each field.

The routes build their responses without these models. Tests validate real responses against them; the
models forbid unknown fields, and a field is optional only if it is declared so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from drover.browser.health import Cause, HealthStatus
from drover.browser.recovery import Method
from drover.core import errors
from drover.core.errors import DroverError
from drover.processes.cleanup.verdicts import Role, Verdict
from drover.sessions.pool.session import SessionState

Timestamp = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T19:40:00.123Z"])
]
"""A time in UTC, in RFC 3339 format."""
Pid = Annotated[int, Field(description="Process id", examples=[4711])]
SessionIdField = Annotated[str, Field(examples=["session_3f9c0a1b2c4d"])]


def error_codes() -> Iterator[str]:
    """Yield every `code` that a response may have, some more than once."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, DroverError):
            yield kind.code


class ApiModel(BaseModel):
    """Base of all response bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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


class GrantedLease(LeaseObject):
    """A lease with its token, which only the client that was granted the lease receives."""

    token: str = Field(examples=["2xUqgW1nX0dR7s8Zk3o5bQJ4mVt6yHfL"])
    """Secret that renews or ends the lease; send it in the header `Lease-Token`."""


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
    ignored: list[IgnoredObject] = Field(
        examples=[[{"name": "no-sandbox", "reason": "the operator decides about Chrome's sandbox"}]]
    )
    """What of the requested capabilities was set aside, and why."""


class SessionAnswer(Success):
    """A session that was found, recovered or created for the request."""

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


class SessionList(Success):
    """All sessions, as currently known."""

    active_sessions: int = Field(examples=[3])
    """Number of sessions."""
    max_sessions: int = Field(examples=[10])
    """Maximum number of sessions."""
    session_capacity: str = Field(examples=["3/10"])
    """Both numbers as one text."""
    sessions: list[SessionObject]
    """The sessions, oldest first; ordered by their ids if the request has `limit` or `after`."""
    next: SessionIdField | None = None
    """What to pass as `after` for the next page, null on the last one; absent without `limit`."""


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


class ProcessBrief(ApiModel):
    """A process that a cleanup ended, would end, or could not end."""

    pid: Pid
    name: str = Field(examples=["chromedriver"])
    """Name of the program."""
    role: Role = Field(examples=["driver"])
    """Role of the process in its browser."""
    reason: str = Field(examples=["ChromeDriver without a session"])
    """Why the process had to be ended; in `failed`, why it could not be."""


class _Report(ApiModel):
    """Base of the reports of cleanups and emergency recoveries."""

    message: str = Field(examples=["Cleaned up 3 orphaned processes"])
    """The result, for people."""
    killed_count: int = Field(examples=[3])
    """Number of processes that were ended and verified to be gone."""
    active_sessions: int = Field(examples=[5])
    """Number of sessions."""
    killed: list[ProcessBrief]
    """Processes that were ended and verified to be gone; in a dry run, those that would be ended."""
    failed: list[ProcessBrief] = Field(examples=[[]])
    """Processes that could not be ended, and why."""
    removed_profiles: int = Field(examples=[2])
    """Number of orphaned session folders that were removed."""
    duration_ms: int = Field(examples=[84])
    """Duration in milliseconds."""


class _CleanupFields(_Report):
    """Base of the reports of cleanups."""

    freed_mb: float = Field(examples=[812.0])
    """Memory that the ended processes held, in units of 1,000,000 bytes."""
    dry_run: bool = Field(examples=[False])
    """Whether this was a dry run, which changes nothing."""
    spared: dict[str, int] = Field(examples=[{"protected": 24, "foreign": 11}])
    """Number of processes that were left alone, by verdict."""
    reaped: list[int] = Field(examples=[[9012]])
    """Pids of defunct child processes of the service that were reaped."""
    phases_ms: dict[str, int] = Field(examples=[{"scan": 21, "plan": 4, "end": 51, "sweep": 8}])
    """Duration of each phase in milliseconds."""


class _Incomplete(ApiModel):
    """Base of the reports of incomplete cleanups and emergency recoveries."""

    success: Literal[False] = Field(default=..., examples=[False])
    """Whether the request succeeded."""
    error: str = Field(
        examples=[
            (
                "These processes could not be ended: PID 9012. "
                "See `failed` for the reasons, then end them manually."
            )
        ]
    )
    """What happened and what to do about it, for people."""
    code: Literal["cleanup_incomplete"] = Field(default=..., examples=["cleanup_incomplete"])
    """Error code, for programs."""


class CleanupAnswer(_CleanupFields, Success):
    """A complete cleanup, or the plan of one in a dry run."""


class CleanupIncompleteAnswer(_CleanupFields, _Incomplete):
    """A cleanup that could not end every orphan."""


class _EmergencyReport(_Report):
    warning: str = Field(examples=["All Chrome browsers have been closed"])
    """Side effect to be aware of."""
    cleared: bool = Field(examples=[True])
    """Whether all sessions and saved states are deleted from the disk; if not, that is retried."""


class EmergencyAnswer(_EmergencyReport, Success):
    """Every Chrome on the machine has ended, except those of other users, which are listed in `failed`."""


class EmergencyIncompleteAnswer(_EmergencyReport, _Incomplete):
    """An emergency recovery that could not end every Chrome, or could not clear the sessions on disk."""


class ProcessObject(ApiModel):
    """A ChromeDriver or Chrome process on the machine, with its verdict."""

    pid: Pid
    ppid: int = Field(examples=[1])
    """Process id of the parent."""
    name: str = Field(examples=["chromedriver"])
    """Name of the program."""
    role: Role = Field(examples=["driver"])
    """Role of the process in its browser."""
    verdict: Verdict = Field(examples=["orphan"])
    """What a cleanup does with it: an `orphan` is ended, `protected` and `foreign` are left alone."""
    reason: str = Field(examples=["ChromeDriver without a session"])
    """Reason for the verdict, for people."""
    session_id: str | None = Field(examples=[None])
    """Session that it belongs to; null if it belongs to none."""
    memory_mb: float | None = Field(examples=[18.7])
    """Its memory, in units of 1,000,000 bytes."""
    age_s: float = Field(examples=[3600.5])
    """Seconds since it started."""


class ProcessList(Success):
    """Every ChromeDriver and Chrome process on the machine."""

    processes: list[ProcessObject]
    """The processes, sorted by pid."""


class ServiceHealth(ApiModel):
    """Whether the service can hand out browsers."""

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
    reason: str = Field(default="", examples=["the service is stopping"])
    """Why the service is unhealthy; absent if it is healthy."""


class ServiceReady(Success):
    """The service accepts new sessions."""

    status: Literal["ready"] = Field(default=..., examples=["ready"])
    """The same as a word."""
    active_sessions: int = Field(examples=[3])
    """Number of sessions."""


class ServiceNotReady(ApiModel):
    """The service accepts no new sessions."""

    success: Literal[False] = Field(default=..., examples=[False])
    """Whether new sessions are accepted."""
    status: Literal["draining", "stopping"] = Field(default=..., examples=["draining"])
    """What the service does instead."""
    active_sessions: int = Field(examples=[3])
    """Number of sessions that are left."""
    error: str = Field(examples=["The service is draining and accepts no new sessions; use another one"])
    """What happened and what to do about it, for people."""
    code: Literal["shutting_down"] = Field(default=..., examples=["shutting_down"])
    """Error code, for programs."""


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
