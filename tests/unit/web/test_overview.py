from __future__ import annotations

from typing import cast

from drover.browser.health import Health, HealthStatus
from drover.processes.cleanup.cleanup_plan import CleanupPlan
from drover.sessions.pool.registry import SessionRegistry
from drover.web.overview import Overview
from process_cleanup import ProcessCleaner
from session_manager import SessionManager
from tests.unit.examples import MemoryJournal, in_command, queue, ready
from tests.unit.web.test_routes import judgement


class FakeCleaner:
    """A cleaner whose survey returns one orphan."""

    def survey(self) -> CleanupPlan:
        return CleanupPlan((judgement(7),))


class FakeManager:
    """A manager which may have no browser available."""

    def __init__(self, unavailable: str | None) -> None:
        self.unavailable = unavailable


def overview(registry: SessionRegistry, doubt: str | None = None) -> Overview:
    manager = cast("SessionManager", FakeManager(doubt))
    return Overview(manager, registry, cast("ProcessCleaner", FakeCleaner()), 5010, None)


def test_a_session_object_is_rebuilt_only_after_a_change() -> None:
    registry = SessionRegistry(3, 2, MemoryJournal())
    one, other = ready(registry, "one"), ready(registry, "other")
    seen = overview(registry)
    before = seen.sessions()
    assert [session["session_id"] for session in before] == ["one", "other"]
    assert before[0]["webdriver_url"] == "http://localhost:5010/wd/hub"
    registry.note(other, health=Health(HealthStatus.HEALTHY))
    after = seen.sessions()
    assert (after[0] is before[0], after[1] is before[1]) == (True, False)
    registry.forget(one)
    assert [session["session_id"] for session in seen.sessions()] == ["other"]


def test_capacity_counts_places_waiting_requests_and_memory() -> None:
    registry = SessionRegistry(1, 2, MemoryJournal())
    with in_command(registry, ready(registry, "one")):
        queue(registry, "two")
        told = overview(registry, "no Chrome was found").capacity()
    assert (told["active_sessions"], told["max_sessions"], told["waiting"], told["warm"]) == (1, 1, 1, 0)
    assert told["unavailable"] == "no Chrome was found"
    used, total = told["memory_used_mb"], told["memory_total_mb"]
    assert isinstance(used, int)
    assert isinstance(total, int)
    assert 0 < used <= total + 10


def test_processes_have_the_same_form_as_in_the_route() -> None:
    told = overview(SessionRegistry(1, 1, MemoryJournal())).processes()
    assert [(row["pid"], row["verdict"], row["role"]) for row in told] == [(7, "orphan", "driver")]
