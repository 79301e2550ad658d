"""Other users of Chrome on a machine: programs that drive a ChromeDriver, and people and tools without one.

Everything started here has its folder on the command line, so that the tests can end exactly these processes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from tests.acceptance.unrelated_processes import CHROMES, LONG_S, SWITCHES, start_look_alikes
from tests.machine import command_line, family, free_port, kill, marked, remove, wait_gone, wait_until

START_S: Final = 20.0
NOBODY: Final = "nobody"
OWN_NAMESPACE: Final = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")
ADOPTS_ORPHANS: Final = """
import ctypes, os, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
subprocess.Popen(sys.argv[1:], start_new_session=True)
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
"""
SUBREAPER: Final = (sys.executable, "-c", ADOPTS_ORPHANS)

# The switches that each tool passes to Chrome, as far as they matter for the verdict.
PUPPETEER: Final = (
    "--enable-automation",
    "--remote-debugging-port=0",
    "--disable-breakpad",
    "--export-tagged-pdf",
    "--force-color-profile=srgb",
    "--use-mock-keychain",
)
PLAYWRIGHT: Final = (
    "--enable-automation",
    "--remote-debugging-pipe",
    "--no-startup-window",
    "--disable-field-trial-config",
    "--no-service-autorun",
)
CHROME_LAUNCHER: Final = ("--remote-debugging-port=0", "--disable-default-apps", "--disable-component-update")
CHROMEDP: Final = ("--enable-automation", "--remote-debugging-port=0", "--safebrowsing-disable-auto-update")


@dataclass(frozen=True, slots=True)
class Automation:
    """A foreign program that has started a ChromeDriver, and continues to run.

    Attributes:
        program: The process that the test started: the program, or the subreaper above it.
        shell: The pid of the program itself.
        driver: The pid of its ChromeDriver.
        url: Where the ChromeDriver listens.
    """

    program: subprocess.Popen[str]
    shell: int
    driver: int
    url: str
    folder: Path

    def browse(self, **options: object) -> int:
        """Start a Chrome and return its pid; options are those of `goog:chromeOptions`."""
        answer = self.request_session(**options)
        browser = answer.json()["value"]["capabilities"]["goog:processID"]
        assert isinstance(browser, int)
        return browser

    def request_session(self, **options: object) -> requests.Response:
        """Request a session and return the response."""
        chrome = {"args": [*SWITCHES, f"--user-data-dir={self.folder}/profile"]} | options
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": chrome}}
        with requests.Session() as client:
            client.trust_env = False
            return client.post(f"{self.url}/session", json={"capabilities": wanted}, timeout=START_S)

    def leave(self) -> None:
        """Let the program end without stopping its ChromeDriver, which lives on."""
        assert self.program.stdin is not None
        self.program.stdin.close()
        wait_gone([self.shell])

    def finish(self) -> None:
        """End everything that is left of it."""
        assert self.program.stdin is not None
        self.program.stdin.close()
        kill(marked(self.folder))
        self.program.wait(START_S)


def start_automation(
    folder: Path,
    *switches: str,
    driver: str = "chromedriver",
    before: Sequence[str] = (),
    own_session: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Automation:
    """Start a program and its ChromeDriver, and wait until that listens.

    Args:
        folder: Where Chrome and ChromeDriver store everything.
        switches: More switches for the ChromeDriver.
        driver: The ChromeDriver executable.
        before: A command that runs the program: a subreaper, or a new namespace.
        own_session: Whether the program gives its ChromeDriver its own session and process group.
        environment: More environment variables for both.
    """
    output = folder / "driver.out"
    output.touch()
    log = (
        () if any(switch.startswith("--log-path=") for switch in switches) else (f"--log-path={folder}/log",)
    )
    setsid = "setsid " if own_session else ""
    script = f'{setsid}"$@" >"{output}" 2>&1 & echo $$ $!; read -r _'
    program = subprocess.Popen(
        [*before, "sh", "-c", script, "sh", driver, f"--port={free_port()}", *log, *switches],
        env=_environment(folder) | dict(environment or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    shell, pid = map(int, program.stdout.readline().split())
    program.stdout.close()
    port = wait_until(partial(_port, output), f"{driver} listens", START_S)
    return Automation(program, shell, pid, f"http://127.0.0.1:{port}", folder)


def start_chrome(
    folder: Path, *switches: str, profile: str = "profile", detached: bool = False, user: str | None = None
) -> subprocess.Popen[bytes]:
    """Start Chrome without a ChromeDriver, and wait until its helpers run.

    Args:
        detached: Whether it gets its own session, as Node tools do it.
        user: The user that runs it, if not ours.
    """
    binary = next(path for path in map(shutil.which, CHROMES) if path)
    pipe = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null'
    chrome = subprocess.Popen(
        ["sh", "-c", pipe, "sh", binary, *SWITCHES, *switches, f"--user-data-dir={folder}/{profile}"],
        env=_environment(folder) | {"HOME": str(folder)},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=detached,
        user=user,
    )
    wait_until(lambda: _has_helpers(chrome.pid), f"Chrome with {switches} runs", START_S)
    return chrome


@contextlib.contextmanager
def unrelated_processes(home: Path) -> Iterator[dict[str, set[int]]]:
    """Run everything that a cleanup must never end, and yield the pids of each by name.

    Only pids that stay are included: Chrome's helpers start and end at any time.
    """
    with contextlib.ExitStack() as stack:
        found = {
            name: {_chrome(stack, _new_folder(home / str(number)), start)}
            for number, (name, start) in enumerate(_CHROMES.items())
        }
        found["left behind by its driver (detach)"] = {_left_behind(stack, _new_folder(home / "detached"))}
        found["Electron's crash handler"] = {_crash_handler(stack, _new_folder(home / "code"))}
        found["look-alikes"] = _look_alikes(stack, _new_folder(home / "alike"))
        if can_be_another_user():
            found["another user's Chrome"], found["another user's ChromeDriver"] = _of_another_user(stack)
        if can_have_a_namespace():
            found["another namespace"] = _in_a_namespace(stack, _new_folder(home / "inside"))
        yield found


def can_be_another_user() -> bool:
    """Return whether we may start processes of another user."""
    return sys.platform != "win32" and os.geteuid() == 0


def can_have_a_namespace() -> bool:
    """Return whether we may create a PID namespace."""
    if sys.platform != "linux" or shutil.which(OWN_NAMESPACE[0]) is None:
        return False
    return subprocess.run([*OWN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


def copied(program: str, path: Path) -> str:
    """Copy an executable, and return the path of the copy."""
    found = shutil.which(program)
    assert found is not None, f"there is no {program}"
    return shutil.copy(os.path.realpath(found), str(path))


def first_browser(driver: int) -> int:
    """Return the pid of the Chrome that a ChromeDriver starts, as soon as it exists.

    Before that it is a copy of its ChromeDriver, and then, on Debian, the shell that runs a wrapper.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for child in psutil.Process(driver).children():
            with contextlib.suppress(psutil.Error):
                if Path(child.exe()).name in CHROMES:
                    return child.pid
    message = f"PID {driver} starts no Chrome"
    raise AssertionError(message)


def helpers_of(pid: int) -> set[int]:
    """Return the living descendants of a browser's main process."""
    return family(pid) - {pid}


_CHROMES: Final[dict[str, Callable[[Path], subprocess.Popen[bytes]]]] = {
    "a person's Chrome": start_chrome,
    "a person's Chrome with a debugging port": lambda home: start_chrome(home, "--remote-debugging-port=0"),
    "Puppeteer": lambda home: start_chrome(
        home, *PUPPETEER, profile="puppeteer_dev_chrome_profile-a1b2c3", detached=True
    ),
    "Playwright": lambda home: start_chrome(
        home, *PLAYWRIGHT, profile="playwright_chromiumdev_profile-a1b2c3", detached=True
    ),
    "chrome-launcher": lambda home: start_chrome(
        home, *CHROME_LAUNCHER, profile="lighthouse.a1b2c3d", detached=True
    ),
    "chromedp": lambda home: start_chrome(home, *CHROMEDP, profile="chromedp-runner123"),
}


def _chrome(
    stack: contextlib.ExitStack, folder: Path, start: Callable[[Path], subprocess.Popen[bytes]]
) -> int:
    chrome = start(folder)
    stack.callback(_end, chrome, folder)
    return chrome.pid


def _left_behind(stack: contextlib.ExitStack, folder: Path) -> int:
    automation = start_automation(folder)
    stack.callback(automation.finish)
    browser = automation.browse(detach=True)
    with requests.Session() as client:
        client.trust_env = False
        client.get(f"{automation.url}/shutdown", timeout=START_S)
    wait_gone([automation.driver])
    automation.leave()
    return browser


def _crash_handler(stack: contextlib.ExitStack, folder: Path) -> int:
    program = copied("sleep", folder / "chrome_crashpad_handler")
    started = subprocess.run(
        ["sh", "-c", '"$@" >/dev/null 2>&1 & echo $!', "sh", program, LONG_S],
        capture_output=True,
        text=True,
        check=True,
    )
    stack.callback(lambda: kill(marked(folder)))
    return int(started.stdout)


def _look_alikes(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    names = ("chrome-native-host", "chrome-remote-desktop-host", "chromecast")
    renamed = [subprocess.Popen([copied("sleep", folder / name), LONG_S]) for name in names]
    started = [*renamed, *start_look_alikes(folder)]
    for process in started:
        stack.callback(_end, process, folder)
    return {process.pid for process in started}


def _of_another_user(stack: contextlib.ExitStack) -> tuple[set[int], set[int]]:
    folder = Path(tempfile.mkdtemp(prefix="drn-", dir="/tmp"))
    stack.callback(remove, folder)
    shutil.chown(folder, NOBODY)
    chrome = start_chrome(folder, user=NOBODY)
    stack.callback(_end, chrome, folder)
    driver = subprocess.Popen(
        ["chromedriver", f"--port={free_port()}", f"--log-path={folder}/log"],
        user=NOBODY,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(_end, driver, folder)
    return {chrome.pid}, {driver.pid}


def _in_a_namespace(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    automation = start_automation(folder, before=OWN_NAMESPACE)
    stack.callback(automation.finish)
    automation.browse()
    switches = {process.pid: command_line(process) for process in marked(folder)}
    mains = {pid for pid, line in switches.items() if "--type=" not in line and "crashpad" not in line}
    return {pid for pid in mains if psutil.Process(pid).name().startswith("chrom")}


def _end(process: subprocess.Popen[Any], folder: Path) -> None:
    kill(marked(folder))
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait(START_S)


def _new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    # The crash handlers have init as their parent from the start: their database's path shows where they
    # belong.
    return dict(os.environ) | {"TMPDIR": str(folder), "BREAKPAD_DUMP_LOCATION": f"{folder}/c"}


def _port(output: Path) -> str | None:
    found = re.search(r"successfully on port (\d+)", output.read_text(encoding="utf-8"))
    return found[1] if found else None


def _has_helpers(pid: int) -> bool:
    # A helper may end between the listing and the read.
    with contextlib.suppress(psutil.NoSuchProcess):
        return any("--type=utility" in command_line(psutil.Process(helper)) for helper in helpers_of(pid))
    return False
