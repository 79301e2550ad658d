from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drover.processes.children import reap
from drover.processes.cleanup.cleanup_plan import CleanupScope, Protection
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.folders import folder_id
from drover.processes.session_mark import OwnerState
from drover.processes.table import ProcessIdentity, identify, snapshot
from drover.processes.termination import Outcome, end
from tests.integration.child_processes import IGNORE_TERM, Children, children, identity, state, stop
from tests.machine import living, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are made for Linux")


@pytest.fixture(name="kids")
def _kids(folder: Path) -> Iterator[Children]:
    with children(folder) as made:
        yield made


@pytest.fixture(name="_way", params=["pidfd", "psutil"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test twice: with pidfds, and as on a kernel where they are missing or forbidden."""
    if request.param == "psutil":

        def missing(_pid: int, _flags: int = 0) -> int:
            raise OSError(errno.ENOSYS, "not there")

        monkeypatch.setattr(os, "pidfd_open", missing)


def outcomes(*targets: ProcessIdentity, grace: float = 5.0, timeout: float = 5.0) -> list[Outcome]:
    return [ending.outcome for ending in end(targets, grace=grace, timeout=timeout)]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_ending_a_process_leaves_its_exit_status_to_its_parent(kids: Children) -> None:
    child = kids.start()
    assert outcomes(identity(child)) == [Outcome.ENDED]
    assert state(child.pid) == "Z"
    assert child.wait(5) == -signal.SIGTERM


def test_a_process_that_ignores_sigterm_is_killed(kids: Children) -> None:
    child = kids.start(script=IGNORE_TERM)
    assert outcomes(identity(child), grace=0.1) == [Outcome.KILLED]
    assert child.wait(5) == -signal.SIGKILL


def test_a_stopped_process_is_killed_without_a_wait(kids: Children) -> None:
    child = kids.start()
    stop(child)
    assert outcomes(identity(child), grace=100.0) == [Outcome.KILLED]
    assert child.wait(5) == -signal.SIGKILL


def test_many_processes_are_awaited_together_and_reported_in_order(kids: Children) -> None:
    stubborn, meek, gone = kids.start(script=IGNORE_TERM), kids.start(), kids.start()
    targets = [identity(child) for child in (stubborn, meek, gone)]
    gone.kill()
    gone.wait(5)
    assert outcomes(*targets, grace=0.3) == [Outcome.KILLED, Outcome.ENDED, Outcome.ALREADY_GONE]


def test_a_zombie_counts_as_gone(kids: Children) -> None:
    child = kids.start()
    target = identity(child)
    child.kill()
    wait_until(lambda: state(child.pid) == "Z", "a zombie")
    assert outcomes(target) == [Outcome.ALREADY_GONE]


def test_a_later_process_with_the_same_pid_is_not_signalled(kids: Children) -> None:
    child = kids.start()
    target = identity(child)
    earlier = replace(target, started=target.started - 0.01)
    assert outcomes(earlier) == [Outcome.ALREADY_GONE]
    assert child.poll() is None


def test_our_own_process_and_process_1_are_never_signalled() -> None:
    endings = end([ProcessIdentity(os.getpid(), 1.0), ProcessIdentity(1, 1.0), ProcessIdentity(0, 0.0)])
    assert [ending.outcome for ending in endings] == [Outcome.DENIED] * 3
    assert all(ending.detail for ending in endings)


def test_an_empty_list_returns_at_once() -> None:
    assert end([]) == ()


def test_a_process_we_may_not_signal_is_reported(kids: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    child = kids.start()
    target = identity(child)
    with monkeypatch.context() as patched:
        patched.setattr(signal, "pidfd_send_signal", refuse)
        patched.setattr(os, "kill", refuse)
        (ending,) = end([target])
    assert ending.outcome is Outcome.DENIED
    assert ending.detail
    assert child.poll() is None


def test_a_process_that_survives_sigkill_is_reported(kids: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    child = kids.start()
    target = identity(child)
    with monkeypatch.context() as patched:
        patched.setattr(signal, "pidfd_send_signal", lambda *_args: None)
        patched.setattr(os, "kill", lambda *_args: None)
        (ending,) = end([target], grace=0.05, timeout=0.05)
    assert (ending.outcome, ending.detail) == (Outcome.SURVIVED, "still running after SIGKILL")


def test_no_descriptor_is_left_open(kids: Children) -> None:
    before = open_descriptors()
    targets = [identity(kids.start()) for _ in range(3)]
    with_pipes = open_descriptors()
    assert outcomes(*targets) == [Outcome.ENDED] * 3
    assert open_descriptors() == with_pipes > before


def test_a_process_that_forks_while_it_is_killed_is_ended_in_two_passes(kids: Children, folder: Path) -> None:
    data_dir = folder / "d"
    mark = f"--user-data-dir={data_dir}/s/abcd1234/p"
    script = (
        "exec 3<&0; trap '' TERM; echo ready; for i in {1..60}; do { read -u 3; } & read -t 0.01; done; read"
    )
    kids.start(mark, script=script)
    data_dir.mkdir()
    home = folder_id(data_dir)
    assert home is not None
    protection = Protection((), None, {home: OwnerState.DEAD})

    def orphans() -> list[ProcessIdentity]:
        return [
            found.row.identity for found in plan_cleanup(snapshot(), protection, CleanupScope.OWNED).orphans
        ]

    wait_until(lambda: len(orphans()) > 5, "some forks")
    for _ in range(2):
        assert set(outcomes(*orphans(), grace=0.05)) <= {Outcome.KILLED, Outcome.ENDED, Outcome.ALREADY_GONE}
    assert orphans() == []


def test_only_our_defunct_children_are_reaped(kids: Children) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    wait_until(lambda: state(pid) == "Z", "a zombie")
    alive = kids.start()
    assert reap([pid, alive.pid, 1, 0, -1, os.getppid()]) == (pid,)
    assert reap([pid]) == ()
    assert living([alive.pid])


def test_twenty_processes_are_ended_together(kids: Children) -> None:
    started: list[subprocess.Popen[str]] = [kids.start() for _ in range(20)]
    assert outcomes(*map(identity, started)) == [Outcome.ENDED] * 20


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """Allow this process so many more descriptors than it has open, or none if that is what is asked for."""
    import resource  # noqa: PLC0415 - Windows has no such module, and collects this one all the same

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    filler = [os.dup(0)] if number == 0 else []
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + number, hard))
    try:
        while number == 0:
            try:
                filler.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in filler:
            os.close(descriptor)


def test_more_processes_than_there_are_descriptors_are_ended(folder: Path) -> None:
    many = 60
    command = ["bash", "-c", f"for i in $(seq {many}); do sleep 600 & echo $!; done; read"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as shell:
        assert shell.stdout
        pids = [int(shell.stdout.readline()) for _ in range(many)]
        targets = [one for one in map(identify, pids) if one is not None]
        with descriptors_left(12):
            found = outcomes(*targets)
        shell.communicate("\n", timeout=10)
    assert found == many * [Outcome.ENDED]


def test_without_a_descriptor_no_signal_is_sent_to_a_process_that_cannot_be_told_apart(
    kids: Children,
) -> None:
    child = kids.start()
    target = identity(child)
    with descriptors_left(0):
        (ending,) = end([target], grace=0.1, timeout=0.1)
    assert ending.outcome is Outcome.DENIED
    assert ending.detail
    assert child.poll() is None
