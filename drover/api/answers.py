"""What the routes answer, as models: the schemas of OpenAPI, with each field's meaning and an example.

The routes build their answers by themselves; tests hold real answers against these models, which know no
optional field that is not marked as one and no field beyond those named.
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
"""A time in UTC, as RFC 3339 has it."""
Pid = Annotated[int, Field(description="Process id", examples=[4711])]
SessionIdField = Annotated[str, Field(examples=["session_3f9c0a1b2c4d"])]


def error_codes() -> Iterator[str]:
    """Give every `code` that an answer may have, some more than once; a door has its own."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, DroverError):
            yield kind.code


class ApiModel(BaseModel):
    """Base of what the service answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Success(ApiModel):
    """Base of the answers to what went well."""

    success: Literal[True] = Field(default=..., examples=[True])
    """Whether it went well."""


class Failure(ApiModel):
    """What every failure looks like."""

    success: Literal[False] = Field(default=..., examples=[False])
    """Whether it went well."""
    error: str = Field(examples=["field idle_timeout: Input should be a valid number"])
    """One sentence that says what happened and what to do."""
    code: str = Field(json_schema_extra={"enum": [*sorted(set(error_codes()))]}, examples=["invalid_request"])
    """The same for programs."""
    details: dict[str, str] = Field(default={}, examples=[{"idle_timeout": "Input should be a valid number"}])
    """Where fields are at fault: what is wrong with each."""


class RecoveryObject(ApiModel):
    """How a session was brought back."""

    cause: Cause = Field(examples=["driver_gone"])
    """What was found dead or hung."""
    method: Method = Field(examples=["reattached"])
    """The gentlest way that worked: what is still there."""
    orphans_killed: int = Field(examples=[0])
    """Processes that the cleanup before it has seen dead."""
    duration_ms: int = Field(examples=[131])
    """Milliseconds from finding the session dead to its being ready again."""


class HealthObject(ApiModel):
    """What the last check of a session found."""

    status: HealthStatus = Field(examples=["healthy"])
    """`busy` is alive: a command is running."""
    reason: str | None = Field(examples=[None])
    """Why, in words, where it is not healthy."""
    checked_at: Timestamp | None = Field(examples=["2026-11-22T19:40:00.123Z"])
    """When it was checked last."""
    latency_ms: int | None = Field(examples=[3])
    """Milliseconds that the check took."""


class LeaseObject(ApiModel):
    """Who holds a session."""

    holder: str | None = Field(examples=["nightly-report"])
    """The holder, in its own words."""
    expires_at: Timestamp
    """When the lease ends by itself."""


class GrantedLease(LeaseObject):
    """A lease with its token, which is told only to the one to whom it is granted."""

    token: str = Field(examples=["2xUqgW1nX0dR7s8Zk3o5bQJ4mVt6yHfL"])
    """What renews the lease or gives it back, in the header `Lease-Token`."""


class KeepAliveObject(ApiModel):
    """The page that keeps a login from lapsing."""

    url: str = Field(examples=["https://example.org/account"])
    """The page's address."""
    interval: float = Field(examples=[300])
    """Seconds between two visits."""


class DriverObject(ApiModel):
    """The session's ChromeDriver; a recovery may replace it."""

    pid: Pid
    url: str = Field(examples=["http://127.0.0.1:41234"])
    """Where it listens, on this machine only."""
    session_id: str = Field(examples=["0f3a5b9c7d1e4f60a2b4c6d8e0f1a3b5"])
    """ChromeDriver's own id of the session."""


class BrowserObject(ApiModel):
    """The session's browser; a recovery may replace it."""

    pid: Pid
    version: str = Field(examples=["156.0.8078.79"])
    """Chrome's version."""
    debugger_address: str = Field(examples=["127.0.0.1:39999"])
    """Where its DevTools listen, on this machine only."""


class SessionObject(ApiModel):
    """A session as clients see it."""

    session_id: SessionIdField
    """The stable id; it never changes."""
    key: str | None = Field(examples=["account-17"])
    """The client's persistent name for it."""
    state: SessionState = Field(examples=["ready"])
    """Where it is in its life."""
    in_use: bool = Field(examples=[True])
    """Whether a lease is held, a command runs, or a CDP or BiDi socket is open."""
    created_at: Timestamp
    """When it was asked for."""
    last_used: Timestamp
    """When it was last used; looking at it is no use."""
    idle_timeout: float = Field(examples=[1800])
    """Seconds unused after which it is closed; 0 = never."""
    keep_alive: KeepAliveObject | None
    """The page that is opened while nobody uses it."""
    lease: LeaseObject | None
    """Who holds it, without the token."""
    recoveries: int = Field(examples=[1])
    """How often it was brought back."""
    last_recovery: RecoveryObject | None
    """The last time."""
    health: HealthObject
    """What the last check found."""
    current_url: str | None = Field(examples=["https://example.org/"])
    """The address of the page in front, as last seen."""
    memory_mb: float | None = Field(examples=[312.4])
    """What its processes hold, in units of 1,000,000 bytes; measured every five minutes."""
    driver: DriverObject | None
    """Its ChromeDriver, once there is one."""
    browser: BrowserObject | None
    """Its browser, once there is one."""
    webdriver_url: str | None = Field(examples=["http://localhost:5010/wd/hub"])
    """Where WebDriver clients drive it, whatever happens to its ChromeDriver."""
    cdp_url: str | None = Field(examples=["ws://localhost:5010/sessions/session_3f9c0a1b2c4d/cdp"])
    """Where CDP clients drive it."""


class SessionAnswer(Success):
    """A session that is handed over."""

    created: bool = Field(examples=[False])
    """Whether it is new."""
    recovered: bool = Field(examples=[True])
    """Whether it was dead and brought back for this request."""
    recovery: RecoveryObject | None
    """How it was brought back."""
    session: SessionObject
    """The session."""
    session_id: SessionIdField
    """Its id."""
    lease: GrantedLease | SkipJsonSchema[None] = None
    """The lease, where one was asked for; else the field is absent."""


class SessionList(Success):
    """All sessions, from what is known now."""

    active_sessions: int = Field(examples=[3])
    """How many there are."""
    max_sessions: int = Field(examples=[10])
    """How many there may be."""
    session_capacity: str = Field(examples=["3/10"])
    """Both in one."""
    sessions: list[SessionObject]
    """The sessions, oldest first."""


class SessionClosedAnswer(Success):
    """A session is closed: its processes were seen gone."""

    message: str = Field(examples=["Session session_3f9c0a1b2c4d closed"])
    """The same in words."""
    session_id: SessionIdField
    """The id that it had."""
    active_sessions: int = Field(examples=[2])
    """How many are left."""


class LeaseAnswer(Success):
    """A lease is granted or renewed."""

    lease: GrantedLease
    """The lease."""


class LeaseEnded(Success):
    """A lease is given back."""

    message: str = Field(examples=["Lease of session session_3f9c0a1b2c4d given back"])
    """The same in words."""
    session_id: SessionIdField
    """The session's id."""


class ProcessBrief(ApiModel):
    """A process that a cleanup was about."""

    pid: Pid
    name: str = Field(examples=["chromedriver"])
    """The name of its program."""
    role: Role = Field(examples=["driver"])
    """What it is to its browser."""
    reason: str = Field(examples=["a ChromeDriver of no session"])
    """Why it was to be ended; in `failed`, why it could not be."""


class _Report(ApiModel):
    """Base of the reports of cleanups and emergencies."""

    message: str = Field(examples=["Cleaned up 3 orphaned processes"])
    """The outcome in words."""
    killed_count: int = Field(examples=[3])
    """Processes seen dead."""
    active_sessions: int = Field(examples=[5])
    """How many sessions there are."""
    killed: list[ProcessBrief]
    """The processes seen dead; in a dry run those that would be ended."""
    failed: list[ProcessBrief] = Field(examples=[[]])
    """The processes that could not be ended, and why."""
    removed_profiles: int = Field(examples=[2])
    """Session folders of nobody, removed with all they held."""
    duration_ms: int = Field(examples=[84])
    """Milliseconds that it took."""


class _CleanupFields(_Report):
    """Base of the reports of cleanups."""

    freed_mb: float = Field(examples=[812.0])
    """Memory that the killed processes held, in units of 1,000,000 bytes."""
    dry_run: bool = Field(examples=[False])
    """Whether nothing was done."""
    spared: dict[str, int] = Field(examples=[{"protected": 24, "foreign": 11}])
    """How many processes were left alone, by verdict."""
    reaped: list[int] = Field(examples=[[9012]])
    """Pids of defunct children of ours that were taken off the process table."""
    phases_ms: dict[str, int] = Field(examples=[{"scan": 21, "plan": 4, "end": 51, "sweep": 8}])
    """Milliseconds by phase."""


class _Incomplete(ApiModel):
    """Base of the reports of what is not complete."""

    success: Literal[False] = Field(default=..., examples=[False])
    """Whether it went well."""
    error: str = Field(examples=["These processes could not be ended: PID 9012; `failed` says why"])
    """One sentence that says what to do."""
    code: Literal["cleanup_incomplete"] = Field(default=..., examples=["cleanup_incomplete"])
    """The same for programs."""


class CleanupAnswer(_CleanupFields, Success):
    """A cleanup is done, or in a dry run planned."""


class CleanupIncompleteAnswer(_CleanupFields, _Incomplete):
    """A cleanup that could not end everything."""


class _EmergencyReport(_Report):
    warning: str = Field(examples=["All Chrome browsers have been closed"])
    """What else that means."""


class EmergencyAnswer(_EmergencyReport, Success):
    """Every Chrome of the machine is gone, but for those of other users, which stand in `failed`."""


class EmergencyIncompleteAnswer(_EmergencyReport, _Incomplete):
    """An emergency recovery that could not end everything."""


class ProcessObject(ApiModel):
    """A ChromeDriver or Chrome process of the machine, and what a cleanup thinks of it."""

    pid: Pid
    ppid: int = Field(examples=[1])
    """Its parent's process id."""
    name: str = Field(examples=["chromedriver"])
    """The name of its program."""
    role: Role = Field(examples=["driver"])
    """What it is to its browser."""
    verdict: Verdict = Field(examples=["orphan"])
    """What a cleanup would do: spare what is protected or foreign, end orphans."""
    reason: str = Field(examples=["a ChromeDriver of no session"])
    """Why, in words."""
    session_id: str | None = Field(examples=[None])
    """The session that it belongs to."""
    memory_mb: float | None = Field(examples=[18.7])
    """What it holds, in units of 1,000,000 bytes."""
    age_s: float = Field(examples=[3600.5])
    """Seconds since its start."""


class ProcessList(Success):
    """Every ChromeDriver and Chrome process of the machine."""

    processes: list[ProcessObject]
    """The processes, by pid."""


class ServiceHealth(ApiModel):
    """Whether the service can hand out browsers."""

    success: bool = Field(examples=[True])
    """Whether it can."""
    status: Literal["healthy", "unhealthy"] = Field(default=..., examples=["healthy"])
    """The same in a word."""
    service: Literal["drover"] = Field(default=..., examples=["drover"])
    """Which program answers."""
    version: str = Field(examples=["1.0.0"])
    """Its version."""
    active_sessions: int = Field(examples=[3])
    """How many sessions there are."""
    max_sessions: int = Field(examples=[10])
    """How many there may be."""
    session_capacity: str = Field(examples=["3/10"])
    """Both in one."""
    warm: int = Field(examples=[0])
    """Browsers that stand ready."""
    persistent_sessions: int = Field(examples=[1])
    """Sessions with a key."""
    uptime_s: float = Field(examples=[86400.0])
    """Seconds since the start."""
    timestamp: Timestamp
    """The service's time."""
    reason: str = Field(default="", examples=["the service is stopping"])
    """Why not, where it is unhealthy."""


class W3cAnswer(ApiModel):
    """What every WebDriver command answers."""

    value: Any = Field(examples=[None])
    """What the command gives; where it failed, an object of `error`, `message` and `stacktrace`."""


class W3cError(ApiModel):
    """Why a WebDriver command failed."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(examples=["no such element"])
    """The standard's word for it."""
    message: str = Field(examples=["no such element: Unable to locate element"])
    """One sentence for people."""
    stacktrace: str = Field(examples=[""])
    """ChromeDriver's own; empty where the failure is the service's."""


class W3cFailure(ApiModel):
    """What every WebDriver command that failed answers."""

    value: W3cError
    """What went wrong; `data.code` is as in all other routes where the service itself refused it."""
