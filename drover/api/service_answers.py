"""Response models of the service itself: health, readiness, machines, drain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from drover.api.answers import ApiModel, Success, Timestamp
from drover.api.session_answers import NodeBrief
from drover.core.errors import ShuttingDown
from drover.storage.cluster_values import Node

RETRY_AFTER = "Seconds after which a retry may succeed"


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
    header_meanings: ClassVar[Mapping[str, str]] = {"Retry-After": RETRY_AFTER}

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
