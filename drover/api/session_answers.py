"""Response models of sessions, their leases and their histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from drover.api.answers import ApiModel, Pid, SessionIdField, Success, Timestamp
from drover.browser.health import Cause, HealthStatus
from drover.browser.recovery import Method
from drover.net.addresses import Addresses
from drover.sessions.pool.acquire_request import Acquired
from drover.sessions.pool.session import Session, SessionState
from drover.storage.session_history import HistoryEntry


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
    `page:<url>` a page that was reloaded, `load:<url>` one whose next page was given up, `popup:<url>` one
    that was closed, `profile` the profile, and `cookies` or `storage:<origin>` saved state that could not be
    put back. `window`, `frame`, `actions`, `mobile_emulation`, `network_conditions`,
    `virtual_authenticators`, `cdp:<method>` and the path of a command are what a client had set in
    ChromeDriver and could not be set again."""
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
    header_meanings: ClassVar[Mapping[str, str]] = {"Location": "Path of the session"}

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

    def without_age(self) -> SessionList:
        """Return it without the ages of other machines' sessions, which are copied every few seconds."""
        if all(one.as_of is None for one in self.sessions):
            return self
        ageless = [one.model_copy(update={"as_of": None}) for one in self.sessions]
        return self.model_copy(update={"sessions": ageless})


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
    """Why the session was closed: `deleted`, `quit` (over WebDriver, CDP or BiDi), `idle`, `evicted`,
    `stopping`, `drained`, `client gone`, `given away` (to another machine), `retried` (after a failed
    attempt) or `emergency recovery`."""
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

    @classmethod
    def of(cls, session_id: str, active_sessions: int) -> SessionClosedAnswer:
        """Return the answer for a session."""
        return cls(
            success=True,
            message=f"Session {session_id} closed",
            session_id=session_id,
            active_sessions=active_sessions,
        )


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
