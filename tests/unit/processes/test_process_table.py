from __future__ import annotations

import pytest

from drover.processes.cleanup.chrome_names import (
    Kind,
    Role,
    kind_of_name,
    lies_in_chrome_folder,
    may_be_chrome,
    role_of,
)
from drover.processes.table import ProcessIdentity, ProcessRow, ProcessTable


def row(pid: int, ppid: int, started: float | None = 1.0) -> ProcessRow:
    return ProcessRow(pid, ppid, started, f"p{pid}")


def table(*rows: ProcessRow) -> ProcessTable:
    return ProcessTable({entry.pid: entry for entry in rows}, 1, "linux")


def pids(rows: object) -> list[int]:
    return [entry.pid for entry in rows]  # type: ignore[attr-defined]


def test_relations_reach_over_generations_with_parents_first() -> None:
    family = table(row(1, 0), row(5, 1), row(4, 5), row(3, 4), row(2, 4), row(9, 1))
    assert pids(family.descendants(5)) == [4, 2, 3]
    assert pids(family.ancestors(3)) == [4, 5, 1]


def test_a_circle_of_parents_ends() -> None:
    circle = table(row(2, 4), row(3, 2), row(4, 3), row(5, 5))
    assert pids(circle.ancestors(2)) == [4, 3]
    assert pids(circle.descendants(2)) == [3, 4]
    assert pids(circle.ancestors(5)) == []


def test_a_child_older_than_its_parent_is_none_and_one_of_the_same_tick_is() -> None:
    family = table(row(1, 0, 5.0), row(2, 1, 4.0), row(3, 1, 5.0), row(4, 1, None))
    assert pids(family.descendants(1)) == [3, 4]
    assert family.parent(2) is None


def test_relations_of_an_unknown_pid_are_empty() -> None:
    assert (table().descendants(7), list(table().ancestors(7))) == ((), [])


def test_an_identity_needs_a_start_time() -> None:
    assert row(2, 1, 3.5).identity == ProcessIdentity(2, 3.5)
    with pytest.raises(ValueError, match="start time of PID 2 is unknown"):
        _ = row(2, 1, None).identity


@pytest.mark.parametrize(
    "name",
    [
        *("chrome", "chromium-browse", "chrome-headless", "chrome_crashpad", "headless_shell", "nacl_helper"),
        *(
            "undetected_chro",
            "0f1e2d3c4b5a697",
            "Google Chrome Helper (GPU)",
            "CHROME.EXE",
            "chrome-gnome-sh",
        ),
    ],
)
def test_chrome_like_names_are_candidates(name: str) -> None:
    assert may_be_chrome(name)


@pytest.mark.parametrize("name", ["python", "code", "0f1e2d3c4b5a69", "electron", "firefox", "", "cat"])
def test_names_that_need_none(name: str) -> None:
    assert not may_be_chrome(name)


@pytest.mark.parametrize(
    "name", ["chrome", "chromium", "chromium-browser", "chrome-headless-shell", "headless_shell"]
)
def test_linux_browsers_by_exact_name(name: str) -> None:
    assert kind_of_name(name, "linux") is Kind.CHROME
    assert kind_of_name(name + "-x", "linux") is None


def test_names_are_exact_except_for_case_on_windows() -> None:
    assert kind_of_name("Chrome.EXE", "windows") is Kind.CHROME
    assert kind_of_name("chrome_proxy.exe", "windows") is None
    assert kind_of_name("Chrome", "linux") is None
    assert kind_of_name("Google Chrome for Testing Helper (Alerts)", "darwin") is Kind.CHROME
    assert kind_of_name("Google Chrome Helper (Other)", "darwin") is None


@pytest.mark.parametrize(
    ("exe", "inside"),
    [
        ("/usr/lib/chromium/chrome_crashpad_handler", True),
        ("/opt/google/chrome-beta/chrome_crashpad_handler", True),
        ("/home/x/.cache/puppeteer/chrome/linux-156/chrome-linux64/chrome_crashpad_handler", True),
        ("/Applications/Chromium.app/Contents/Frameworks/x/Helpers/chrome_crashpad_handler", True),
        ("/usr/share/code/chrome_crashpad_handler", False),
        ("/home/x/chrome-viewer/chrome_crashpad_handler", False),
        ("/home/chrome/slack/chrome_crashpad_handler", False),
        ("chrome_crashpad_handler", False),
    ],
)
def test_a_chrome_folder_is_known_by_its_name(exe: str, inside: bool) -> None:
    assert lies_in_chrome_folder(exe) is inside


@pytest.mark.parametrize(
    ("kind", "args", "role"),
    [
        (Kind.DRIVER, ("chromedriver",), Role.DRIVER),
        (Kind.CHROME, ("chrome", "https://x/?q=--type=renderer"), Role.BROWSER),
        (Kind.CHROME, ("chrome --type=gpu-process --x",), Role.GPU),
        (Kind.CHROME, ("chrome", "--type=crashpad-handler"), Role.CRASHPAD),
        (Kind.CHROME, ("chrome", "--type=ppapi"), Role.OTHER),
        (Kind.CRASH_HANDLER, ("chrome_crashpad_handler",), Role.CRASHPAD),
        (Kind.SIDE_PROGRAM, ("nacl_helper",), Role.OTHER),
        (Kind.CHROME, None, Role.OTHER),
    ],
)
def test_roles_are_derived_from_the_executable_and_the_type_switch(
    kind: Kind, args: tuple[str, ...] | None, role: Role
) -> None:
    assert role_of(kind, args) is role
