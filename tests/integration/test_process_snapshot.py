from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drover.processes import portable
from drover.processes import table as module
from drover.processes.cleanup.chrome_names import Role
from drover.processes.cleanup.cleanup_plan import CleanupScope, Protection, Verdict
from drover.processes.cleanup.process_tree import pids_by_session
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.folders import folder_id
from drover.processes.table import Liveness, identify, liveness, snapshot
from drover.processes.values import ProcessStatus
from tests.integration.child_processes import WAIT, Children, children, identity, state, stop
from tests.machine import wait_until

if sys.platform == "linux":
    from drover.processes import linux

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are made for Linux")
NOBODY_USER = 65534
# PF_EXITING in the kernel's include/linux/sched.h, and the bit of SIGKILL among pending signals.
EXITING = 0x4
KILLED = 0x100
needs_root = pytest.mark.skipif(
    sys.platform == "win32" or os.getuid() != 0, reason="only root can start a process as another user"
)


@pytest.fixture(name="kids")
def _kids(folder: Path) -> Iterator[Children]:
    with children(folder) as made:
        yield made


def test_a_chrome_is_read_in_full_with_its_ancestors(kids: Children, folder: Path) -> None:
    child = kids.start("--test-type=webdriver", "--user-data-dir=/a b")
    table = snapshot()
    row = table.rows[child.pid]
    assert (row.name, row.exe, row.ppid) == ("chrome", str(folder / "chrome"), os.getpid())
    assert row.cmdline is not None
    assert row.cmdline[-2:] == ("--test-type=webdriver", "--user-data-dir=/a b")
    assert (row.pgid, row.sid, row.own_user, row.own_namespace) == (child.pid, child.pid, True, True)
    assert (row.status, row.identity) == (ProcessStatus.RUNNING, identity(child))
    assert row.memory_mb is not None
    assert row.memory_mb > 0
    assert 0 <= row.age_s < 60
    assert table.self_pid == os.getpid()
    assert {os.getpid(), os.getppid()} <= {ancestor.pid for ancestor in table.ancestors(child.pid)}


def test_leaders_of_groups_and_sessions_are_in_the_table_with_their_executables(kids: Children) -> None:
    parent = kids.start(
        name="starter", script=f"exec 3<&0; '{kids.program('chrome')}' -c '{WAIT}' x <&3 & wait"
    )
    table = snapshot()
    (chrome,) = table.descendants(parent.pid)
    assert (chrome.name, chrome.pgid, chrome.sid) == ("chrome", parent.pid, parent.pid)
    leader = table.rows[parent.pid]
    assert leader.name == "starter"
    assert leader.exe is not None
    assert leader.exe.endswith("/starter")


def test_a_look_alike_is_listed_under_its_own_name_as_foreign(kids: Children, folder: Path) -> None:
    script = folder / "chrome-gnome-shell"
    script.write_text(f"#!{kids.program('tool')}\n{WAIT}\n")
    script.chmod(0o755)
    with subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        plan = plan_cleanup(snapshot(), Protection((), None, {}), CleanupScope.EVERYTHING)
        child.kill()
    (found,) = [judgement for judgement in plan.judgements if judgement.row.pid == child.pid]
    assert (found.row.name, found.role, found.verdict) == ("chrome-gnome-sh", Role.OTHER, Verdict.FOREIGN)
    assert found.reason == f"not Chrome despite its name; it runs {folder}/tool"


def test_the_mark_is_found_in_arguments_rewritten_as_one_string(kids: Children) -> None:
    title = "chrome --type=renderer --user-data-dir=/a b/s/abcd1234/p --lang=en"
    with subprocess.Popen([title], executable=kids.program("chrome"), stdin=subprocess.PIPE) as child:
        wait_until(
            lambda: child.pid in snapshot().rows and snapshot().rows[child.pid].cmdline == (title,),
            "its title",
        )
        mark = snapshot().rows[child.pid].mark
        child.kill()
    assert mark is not None
    assert mark.folder == "/a b/s/abcd1234"


def test_a_data_folder_is_the_same_by_each_of_its_names(kids: Children, folder: Path) -> None:
    data_dir, link = folder / "d", folder / "link"
    data_dir.mkdir()
    link.symlink_to(data_dir)
    children = [kids.start(f"--user-data-dir={path}/s/abcd1234/p") for path in (data_dir, link)]
    table = snapshot()
    marks = [table.rows[child.pid].mark for child in children]
    assert [mark.data_dir for mark in marks if mark] == [str(data_dir), str(link)]
    assert {mark.home for mark in marks if mark} == {folder_id(data_dir)}
    assert pids_by_session(table)[folder_id(link), "abcd1234"] == {child.pid for child in children}


@needs_root
def test_a_path_means_what_it_means_to_the_process_that_names_it(kids: Children, folder: Path) -> None:
    data_dir, private = folder / "d", folder / "private"
    data_dir.mkdir()
    private.mkdir()
    program = f"exec '{kids.program('chrome')}' -c '{WAIT}' x --user-data-dir={data_dir}/s/abcd1234/p"
    mounted = f"mount --bind {private} {data_dir} && {program}"
    command = ["unshare", "--mount", "bash", "-c", mounted]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outer:
        assert outer.stdout
        if outer.stdout.readline() != b"ready\n":
            pytest.skip("no mount namespace can be made here")
        mark = snapshot().rows[outer.pid].mark
        outer.kill()
    assert mark is not None
    assert (mark.data_dir, mark.home) == (str(data_dir), folder_id(private))
    assert folder_id(private) != folder_id(data_dir)


def test_an_executable_that_was_deleted_keeps_its_name(kids: Children, folder: Path) -> None:
    child = kids.start()
    (folder / "chrome").unlink()
    assert snapshot().rows[child.pid].exe == str(folder / "chrome")


def test_stopped_and_defunct_processes_are_distinguished(kids: Children) -> None:
    child = kids.start()
    target = identity(child)
    assert liveness(target) is Liveness.ALIVE
    stop(child)
    assert snapshot().rows[child.pid].status is ProcessStatus.STOPPED
    assert liveness(target) is Liveness.STOPPED
    child.kill()
    wait_until(lambda: state(child.pid) == "Z", "a zombie")
    row = snapshot().rows[child.pid]
    assert (row.status, row.exe, row.cmdline) == (ProcessStatus.ZOMBIE, None, None)
    assert (liveness(target), identify(child.pid)) == (Liveness.GONE, None)
    child.wait(5)
    assert (liveness(target), identify(child.pid)) == (Liveness.GONE, None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports a kill that is still pending")
@pytest.mark.parametrize(
    ("flags", "pending", "expected"),
    [
        ("4194560", "0", Liveness.ALIVE),
        ("4194560", "2048", Liveness.ALIVE),
        ("4194564", "0", Liveness.DYING),
        ("4194560", "256", Liveness.DYING),
    ],
)
def test_a_killed_process_is_reported_as_dying_before_it_is_gone(
    kids: Children, monkeypatch: pytest.MonkeyPatch, flags: str, pending: str, expected: Liveness
) -> None:
    child = kids.start()
    target = identity(child)
    before, _, after = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(")")
    fields = after.split()
    fields[6], fields[28] = flags, pending
    stat_line = f"{before}) {' '.join(fields)}".encode()
    monkeypatch.setattr(linux, "_read", lambda path, size: stat_line)
    assert liveness(target) is expected


def test_another_start_time_is_another_process(kids: Children) -> None:
    target = identity(kids.start())
    assert liveness(replace(target, started=target.started + 0.01)) is Liveness.GONE


def test_chrome_of_a_killed_driver_is_found_to_be_an_orphan(kids: Children) -> None:
    chrome = f"'{kids.program('chrome')}' -c '{WAIT}' x --test-type=webdriver"
    driver = kids.start(name="chromedriver", script=f"exec 3<&0; {chrome} <&3 & wait")
    (browser,) = snapshot().descendants(driver.pid)
    no_sessions = Protection((), None, {})

    def verdict_of(pid: int, scope: CleanupScope) -> Verdict:
        plan = plan_cleanup(snapshot(), no_sessions, scope)
        return next(found.verdict for found in plan.judgements if found.row.pid == pid)

    assert verdict_of(browser.pid, CleanupScope.ABANDONED) is Verdict.FOREIGN
    assert verdict_of(browser.pid, CleanupScope.SYSTEM) is Verdict.ORPHAN
    driver.kill()
    wait_until(lambda: snapshot().rows[browser.pid].ppid != driver.pid, "a new parent")
    assert verdict_of(browser.pid, CleanupScope.ABANDONED) is Verdict.ORPHAN
    assert verdict_of(browser.pid, CleanupScope.OWNED) is Verdict.FOREIGN


@needs_root
def test_another_users_process_is_recognised() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with children(Path(name)) as kids:
            child = kids.start(user=NOBODY_USER)
            assert snapshot().rows[child.pid].own_user is False


@needs_root
def test_a_process_in_another_pid_namespace_is_recognised(kids: Children) -> None:
    inner = f"exec '{kids.program('chrome')}' -c '{WAIT}' x"
    command = ["unshare", "--pid", "--fork", "--kill-child", "bash", "-c", inner]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outer:
        assert outer.stdout
        if outer.stdout.readline() != b"ready\n":
            pytest.skip("no PID namespace can be made here")
        (row,) = snapshot().descendants(outer.pid)
        outer.kill()
    assert (row.name, row.own_namespace) == ("chrome", False)


def test_a_process_hidden_in_proc_is_reported_alive(kids: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    child = kids.start(name="chromedriver")
    monkeypatch.setattr(linux, "_read", lambda _path, _size: None)
    stat = linux.read_stat(child.pid)
    assert stat is not None
    assert (stat.name, stat.pgid, stat.started) == ("hidden process", child.pid, None)
    assert liveness(module.ProcessIdentity(child.pid, 1.0)) is Liveness.ALIVE
    assert identify(child.pid) is None


def test_a_proc_of_another_namespace_gives_an_empty_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "sees_own_processes", lambda: False)
    assert snapshot().rows == {}


def test_psutil_agrees_with_the_kernel(kids: Children) -> None:
    child = kids.start("--test-type=webdriver")
    stop(child)
    ours, theirs = linux.read_stat(child.pid), portable.read_stat(child.pid)
    assert ours is not None
    assert theirs is not None
    assert replace(ours, started=None) == replace(theirs, started=None)
    seen, seen_by_psutil = linux.read_details(child.pid), portable.read_details(child.pid)
    assert replace(seen, own_namespace=None) == seen_by_psutil
    assert portable.scan()[child.pid].name == "chrome"
    child.kill()
    wait_until(lambda: state(child.pid) == "Z", "a zombie")
    defunct = portable.read_stat(child.pid)
    assert defunct is not None
    assert defunct.status is ProcessStatus.ZOMBIE
    child.wait(5)
    assert portable.read_stat(child.pid) is None


def test_the_table_can_be_read_through_psutil(kids: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "reader", portable)
    child = kids.start("--test-type=webdriver")
    row = snapshot().rows[child.pid]
    assert (row.name, row.ppid, row.own_user) == ("chrome", os.getpid(), True)
    assert liveness(row.identity) is Liveness.ALIVE


def test_short_lived_processes_do_not_disturb_a_snapshot(kids: Children) -> None:
    steady = kids.start()
    program, over = str(kids.program("chromedriver")), threading.Event()

    def start_many() -> None:
        while not over.is_set():
            for child in [subprocess.Popen([program, "-c", ":"]) for _ in range(10)]:
                child.wait(10)

    threads = [threading.Thread(target=start_many) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            table = snapshot()
            assert table.rows[steady.pid].cmdline
            plan_cleanup(table, Protection((), None, {}), CleanupScope.ABANDONED)
    finally:
        over.set()
        for thread in threads:
            thread.join()


WITHOUT_FIRST_THREAD = """
import ctypes, threading
threading.Thread(target=input).start()
print("ready", flush=True)
ctypes.CDLL(None).syscall(%d, 0)  # ends this thread alone
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of the system call is that of x86-64")
def test_a_program_whose_first_thread_has_ended_is_alive() -> None:
    command = [sys.executable, "-c", WITHOUT_FIRST_THREAD % 60]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: state(process.pid) == "Z", "its first thread has ended")
        target = identify(process.pid)
        assert target is not None
        assert liveness(target) is Liveness.ALIVE
        process.kill()
    assert liveness(target) is Liveness.GONE


def thread_line(state: str, flags: int = 0, pending: int = 0, threads: int = 3) -> bytes:
    """Return a line of `/proc/PID/stat` as the kernel writes it for a thread in this state."""
    fields = [
        state,
        *["1", "7", "7", "0", "-1"],
        str(flags),
        *["0"] * 10,
        str(threads),
        "0",
        "900",
        *["0"] * 8,
        str(pending),
    ]
    return f"7 (chromedriver) {' '.join(fields)} 0 0 0 0\n".encode()


ENDED = thread_line("Z", EXITING)


@pytest.mark.parametrize(
    ("others", "dying"),
    [
        ([thread_line("S")], False),
        ([thread_line("S"), thread_line("R", EXITING)], False),
        ([thread_line("R", EXITING)], True),
        ([thread_line("S", pending=KILLED)], True),
        ([], True),
    ],
)
def test_a_program_without_its_first_thread_lives_while_another_thread_does(
    others: list[bytes], dying: bool
) -> None:
    stat = linux.parse_stat(ENDED, lambda: [ENDED, *others])
    assert stat.status is ProcessStatus.RUNNING
    assert stat.dying is dying


def test_a_program_whose_only_thread_has_ended_is_a_zombie() -> None:
    assert linux.parse_stat(thread_line("Z", EXITING, threads=1), list).status is ProcessStatus.ZOMBIE
