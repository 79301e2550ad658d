"""JSON forms of sessions, leases and recoveries."""

from __future__ import annotations

from dataclasses import asdict

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.health import Health
from drover.browser.recovery import Recovery
from drover.core.logs import rfc3339
from drover.net.addresses import Addresses
from drover.sessions.pool.session import Lease, Session


def session_json(session: Session, addresses: Addresses) -> dict[str, object]:
    """Return a session as clients see it, with the addresses at which drivers reach it."""
    running = session.running
    return {
        "session_id": session.session_id,
        "key": session.key,
        "state": session.state.value,
        "in_use": session.in_use,
        "created_at": rfc3339(session.created_at),
        "last_used": rfc3339(session.last_used),
        "idle_timeout": session.idle_timeout,
        "keep_alive": asdict(session.keep_alive) if session.keep_alive else None,
        "lease": _lease_json(session.lease),
        "recoveries": session.recoveries,
        "last_recovery": recovery_json(session.last_recovery),
        "health": _health_json(session.health, session.notice),
        "current_url": session.current_url,
        "memory_mb": session.memory_mb,
        "driver": running
        and {
            "pid": running.driver.pid,
            "url": running.driver_url,
            "session_id": running.driver_session_id,
        },
        "browser": running
        and {
            "pid": running.browser.pid,
            "version": running.browser_version,
            "debugger_address": running.debugger_address,
        },
        "webdriver_url": addresses.webdriver,
        "cdp_url": addresses.cdp(session.session_id),
        "ignored": ignored_json(session.capabilities),
    }


def _lease_json(lease: Lease | None) -> dict[str, object] | None:
    return None if lease is None else {"holder": lease.holder, "expires_at": rfc3339(lease.expires_at)}


def granted_json(lease: Lease) -> dict[str, object]:
    """Return a lease with its token; send it only to the client that was granted the lease."""
    return {"holder": lease.holder, "token": lease.token, "expires_at": rfc3339(lease.expires_at)}


def ignored_json(capabilities: CheckedCapabilities) -> list[dict[str, str]]:
    """Return what was set aside of the requested capabilities as clients see it."""
    return [asdict(one) for one in capabilities.ignored]


def recovery_json(recovery: Recovery | None) -> dict[str, object] | None:
    """Return a recovery as clients see it, or None if there was none."""
    return None if recovery is None else asdict(recovery)


def _health_json(health: Health, notice: str | None) -> dict[str, object]:
    return {
        "status": health.status.value,
        "reason": health.reason or notice,
        "checked_at": rfc3339(health.checked_at) if health.checked_at else None,
        "latency_ms": health.latency_ms,
    }
