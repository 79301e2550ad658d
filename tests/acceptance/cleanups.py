"""Requests for cleanups and verdicts, with checks of the fields of each answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.acceptance.service import Json, Service, expect
from tests.machine import living, wait_until

CLEANUP: Final = "/cleanup_orphaned_processes"
ROLES: Final = {"driver", "browser", "renderer", "gpu", "utility", "zygote", "crashpad", "other"}
ROW: Final = {"pid", "ppid", "name", "role", "verdict", "reason", "session_id", "memory_mb", "age_s"}
KILLED: Final = {"pid", "name", "role", "reason"}
LONG_AGO_S: Final = 3600.0
INITS: Final = {"systemd", "init", "launchd", "tini", "docker-init", "dumb-init", "catatonit", "s6-svscan"}
ENDS_LEFTOVERS: Final = {"adopt_grace": 60}
"""Settings of a service that ends what a long-dead instance left; all others wait longer."""
ENDS_LEFTOVERS_ALONE: Final = pytest.mark.xdist_group(name="services that end what an instance left")


def proves_orphans() -> bool:
    """Return whether process 1 is an init: only its child has certainly lost the program that started it."""
    try:
        return Path(psutil.Process(1).exe()).name in INITS
    except psutil.AccessDenied:
        return Path("/run/systemd/system").is_dir()


def clean(service: Service, query: str = "") -> Json:
    """Clean up, check the fields of the answer and return it."""
    answer = expect(service.post(CLEANUP + query))
    assert answer["dry_run"] is (query == "?dry_run=true")
    if answer["dry_run"]:
        assert (answer["killed_count"], "Cleaned up" in answer["message"]) == (0, False)
    else:
        assert answer["message"] == f"Cleaned up {answer['killed_count']} orphaned processes"
        assert answer["killed_count"] == len(answer["killed"])
    assert answer["failed"] == []
    assert answer["removed_profiles"] >= 0
    assert answer["freed_mb"] >= 0
    assert answer["duration_ms"] >= 0
    assert all(entry.keys() >= KILLED for entry in answer["killed"])
    assert {entry["role"] for entry in answer["killed"]} <= ROLES
    return answer


def killed_pids(answer: Json) -> set[int]:
    """Return the pids that a cleanup has killed, or would kill."""
    return {entry["pid"] for entry in answer["killed"]}


def verdicts(service: Service) -> dict[int, Json]:
    """Return the rows of GET /processes by pid."""
    processes = expect(service.get("/processes"))["processes"]
    assert all(row.keys() >= ROW for row in processes)
    assert {row["role"] for row in processes} <= ROLES
    assert {row["verdict"] for row in processes} <= {"protected", "orphan", "foreign"}
    assert all(row["reason"] for row in processes)
    rows = {row["pid"]: row for row in processes}
    assert len(rows) == len(processes)
    return rows


def assert_judged(service: Service, pids: Iterable[int], verdict: str) -> None:
    """Assert that those of `pids` that are alive have this verdict.

    Chrome's helpers start and end at any time, and one that is just ending can no longer be read.
    """
    wanted = set(pids)

    def others() -> list[Json | int]:
        rows = verdicts(service)
        return [rows.get(pid, pid) for pid in living(wanted) if rows.get(pid, {}).get("verdict") != verdict]

    try:
        wait_until(lambda: not others(), f"all are {verdict}")
    except AssertionError as error:
        message = f"not {verdict}: {others()}"
        raise AssertionError(message) from error


def main_pids(*sessions: Json) -> set[int]:
    """Return the pids that stay as long as the sessions do: ChromeDriver and the browser's main process."""
    return {session[part]["pid"] for session in sessions for part in ("driver", "browser")}


def abandon(service: Service) -> set[int]:
    """Kill a service and date its end back by an hour; return the pids that it leaves."""
    left = {process.pid for process in service.processes()}
    service.kill()
    date_back(service)
    return left


def date_back(service: Service) -> None:
    """Make a dead service look as if it had died an hour ago."""
    long_ago = time.time() - LONG_AGO_S
    os.utime(service.data_dir / "lock", (long_ago, long_ago))
