"""A clock that is set back under a running service changes no deadline and makes no process an orphan."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from drover.core.deadline import Deadline
from drover.processes.session_mark import OwnerState
from drover.storage.instance_lock import read_owner
from process_cleanup import Trigger
from tests.integration.service_harness import running_harness
from tests.machine import living, wait_until

AN_HOUR = 3600.0


def test_idle_timeouts_and_leases_use_the_monotonic_clock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(folder, monkeypatch) as harness:
        kept = harness.acquire("kept").session
        harness.acquire("idle", idle=0.5)
        harness.manager.lease("kept", 0.5, None, None, Deadline(10))
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - AN_HOUR)
        names = harness.registry.sessions
        wait_until(lambda: [one.session_id for one in names()] == ["kept"], "the idle session is closed")
        wait_until(lambda: not names()[0].in_use, "the lease ends")
        assert harness.service.sessions.cleaner.cleanup(Trigger.PERSON).killed == ()
        assert kept.running is not None
        assert living(kept.running.pids) == kept.running.pids
        assert read_owner(str(harness.data_dir), 0) is OwnerState.LIVING
