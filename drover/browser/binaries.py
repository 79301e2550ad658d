"""Where Chrome and ChromeDriver are on this machine, and whether they fit together.

Needs the standard library only, so that `run.py` can ask before anything is installed;
Selenium Manager is imported where it is called.
"""

from __future__ import annotations

import json
import ntpath
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drover.core.errors import BrowserUnavailable, StartRefused

CHROME_VARIABLE = "DROVER_CHROME_BINARY"
CHROMEDRIVER_VARIABLE = "DROVER_CHROMEDRIVER"
VERSION_TIMEOUT_S = 10.0
FETCH_TIMEOUT_S = 300.0
# Long enough for the stub script by which Ubuntu's deb package leads to the snap.
SCRIPT_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Binaries:
    """The two programs of a session."""

    chrome: Path
    chromedriver: Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What the search asks of a machine, so that each system's choices can be tested as data.

    Args:
        system: As in `sys.platform`.
        environ: The environment variables.
        is_program: Is there an executable file at this path?
        real_path: The path with every symbolic link resolved.
        read_head: The file's first bytes; empty where it cannot be read.
    """

    system: str
    environ: Mapping[str, str]
    is_program: Callable[[str], bool]
    real_path: Callable[[str], str]
    read_head: Callable[[str], bytes]


def this_machine() -> Machine:
    """Give the machine that we run on."""
    return Machine(sys.platform, os.environ, _is_program, os.path.realpath, _read_head)


@dataclass(frozen=True, slots=True)
class _Program:
    """A program to look for: names for PATH, then places (environment variable, rest), both by system."""

    title: str
    variable: str
    names: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[tuple[str, str], ...]]


# Chromium stands first on Linux: where both are installed, the system's ChromeDriver is Chromium's.
_CHROME = _Program(
    title="Chrome",
    variable=CHROME_VARIABLE,
    names={
        "linux": ("chromium", "google-chrome-stable", "google-chrome", "chrome", "chromium-browser"),
        "win32": ("chrome.exe",),
        "darwin": ("google-chrome", "chromium"),
    },
    places={
        "linux": (
            ("", "/usr/lib/chromium/chromium"),
            ("", "/usr/bin/chromium"),
            ("", "/opt/google/chrome/chrome"),
            ("", "/usr/bin/google-chrome-stable"),
            ("", "/usr/lib64/chromium-browser/chromium-browser"),
            ("", "/usr/bin/chromium-browser"),
        ),
        "win32": tuple(
            (folder, rest)
            for rest in (r"Google\Chrome\Application\chrome.exe", r"Chromium\Application\chrome.exe")
            for folder in ("PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "LOCALAPPDATA")
        ),
        "darwin": tuple(
            (home, f"/Applications/{name}.app/Contents/MacOS/{name}")
            for name in ("Google Chrome", "Chromium", "Google Chrome for Testing")
            for home in ("", "HOME")
        ),
    },
)
_CHROMEDRIVER = _Program(
    title="ChromeDriver",
    variable=CHROMEDRIVER_VARIABLE,
    names={"linux": ("chromedriver",), "win32": ("chromedriver.exe",), "darwin": ("chromedriver",)},
    places={
        "linux": (
            ("", "/usr/bin/chromedriver"),
            ("", "/usr/local/bin/chromedriver"),
            ("", "/usr/lib/chromium/chromedriver"),
            ("", "/usr/lib64/chromium-browser/chromedriver"),
            ("", "/usr/lib/chromium-browser/chromedriver"),
        ),
        "win32": (),
        "darwin": (("", "/opt/homebrew/bin/chromedriver"), ("", "/usr/local/bin/chromedriver")),
    },
)

# Both packages put a script before the browser: Debian's costs some 40 ms a start, Google's adds two `cat`.
_BEHIND_WRAPPER = {
    "/usr/bin/chromium": "/usr/lib/chromium/chromium",
    "/opt/google/chrome/google-chrome": "/opt/google/chrome/chrome",
}


def find_chrome(setting: str | None, machine: Machine | None = None) -> Path | None:
    """Find Chrome: the setting, then PATH, then the usual places of the system; None where there is none.

    A Chromium from snap is passed over: its `/tmp` is private and hidden folders are closed to it.

    Raises:
        StartRefused: The setting names no executable file, or a snap's.
    """
    return _find(_CHROME, setting, machine or this_machine())


def find_chromedriver(setting: str | None, machine: Machine | None = None) -> Path | None:
    """Find ChromeDriver, in the same way as `find_chrome`.

    Raises:
        StartRefused: The setting names no executable file, or a snap's.
    """
    return _find(_CHROMEDRIVER, setting, machine or this_machine())


def snap_notice(machine: Machine | None = None) -> str | None:
    """Give the line to show where a search has passed over a snap's Chromium, or None."""
    machine = machine or this_machine()
    for candidate in _candidates(_CHROME, machine):
        if machine.is_program(candidate) and _is_snap(candidate, machine):
            advice = "install Google Chrome, or let Selenium Manager fetch one"
            return f"{candidate} is not used: {_SNAP_REASON}; {advice}"
    return None


def resolve(
    chrome_setting: str | None, chromedriver_setting: str | None, machine: Machine | None = None
) -> Binaries:
    """Find both programs; what is missing is fetched by Selenium Manager, within five minutes.

    Raises:
        StartRefused: A setting names no executable file, or a snap's.
        BrowserUnavailable: Not found here, and Selenium Manager could not fetch it.
    """
    machine = machine or this_machine()
    chrome = find_chrome(chrome_setting, machine)
    chromedriver = find_chromedriver(chromedriver_setting, machine)
    if chrome and chromedriver:
        return Binaries(chrome, chromedriver)
    passed_over = None if chrome else snap_notice(machine)
    try:
        fetched = _fetch(chrome, chromedriver, machine)
    except _NotFetched as error:
        cause = " ".join(str(error).split())
        raise BrowserUnavailable(_nothing_to_run(chrome, chromedriver, cause, passed_over)) from error
    return Binaries(chrome or fetched.chrome, chromedriver or fetched.chromedriver)


def versions(binaries: Binaries, system: str = sys.platform) -> tuple[str, str]:
    """Give the version numbers of Chrome and ChromeDriver, each empty where it cannot be told.

    Chrome is not asked on Windows, where `chrome.exe --version` opens a window.
    """
    chrome = "" if system == "win32" else _version(binaries.chrome)
    return chrome, _version(binaries.chromedriver)


def mismatch(chrome: str, driver: str) -> str | None:
    """Say what is wrong and what to do where the major version numbers differ; an empty one fits all."""
    if not chrome or not driver or _major(chrome) == _major(driver):
        return None
    return (
        f"Chrome is version {chrome} and ChromeDriver {driver}, but their first numbers must be equal: "
        "on Debian run `apt-get install chromium chromium-driver`, elsewhere take the old ChromeDriver "
        f"off PATH and unset {CHROMEDRIVER_VARIABLE}, so that Selenium Manager fetches one that fits"
    )


_OF_A_SNAP = re.compile(r"(/var/lib/snapd)?/snap/")
_RUNS_A_SNAP = re.compile(rb"/snap/bin/|\bsnap run\b")
_SNAP_REASON = "it comes from snap, so its /tmp is private and hidden folders are closed to it"


def _find(program: _Program, setting: str | None, machine: Machine) -> Path | None:
    if setting:
        return _checked(program, setting, machine)
    for candidate in _candidates(program, machine):
        if machine.is_program(candidate) and not _is_snap(candidate, machine):
            return Path(_unwrapped(candidate, machine))
    return None


def _checked(program: _Program, setting: str, machine: Machine) -> Path:
    named = f"{program.variable} is {setting!r}"
    if not machine.is_program(setting):
        message = (
            f"{named}, which is no executable file: give {program.title}'s full path, or unset the variable"
        )
        raise StartRefused(message)
    if _is_snap(setting, machine):
        message = (
            f"{named}, but {_SNAP_REASON}: name Google Chrome's instead, "
            "or unset the variable so that Selenium Manager fetches one"
        )
        raise StartRefused(message)
    return Path(setting).absolute()


def _candidates(program: _Program, machine: Machine) -> Iterator[str]:
    system = machine.system if machine.system in program.names else "linux"
    paths = ntpath if system == "win32" else posixpath
    folders = machine.environ.get("PATH", "").split(paths.pathsep)
    for name in program.names[system]:
        # A relative entry of PATH means another program in every folder.
        yield from (paths.join(folder, name) for folder in folders if paths.isabs(folder))
    for variable, rest in program.places[system]:
        if not variable:
            yield rest
        elif machine.environ.get(variable):
            yield paths.join(machine.environ[variable], rest.lstrip("/"))


def _unwrapped(candidate: str, machine: Machine) -> str:
    behind = _BEHIND_WRAPPER.get(machine.real_path(candidate)) if machine.system.startswith("linux") else None
    return behind if behind and machine.is_program(behind) else candidate


def _is_snap(path: str, machine: Machine) -> bool:
    """Tell a snap's program: by its path, by snap's launcher behind it, or by a script that runs the snap."""
    if not machine.system.startswith("linux"):
        return False
    real = machine.real_path(path)
    if any(_OF_A_SNAP.match(one) for one in (path, real)) or posixpath.basename(real) == "snap":
        return True
    head = machine.read_head(path)
    return head.startswith(b"#!") and _RUNS_A_SNAP.search(head) is not None


class _NotFetched(Exception):
    """Selenium Manager could not help; the message says why."""


def _fetch(chrome: Path | None, chromedriver: Path | None, machine: Machine) -> Binaries:
    answer = _ask_selenium_manager(_manager_arguments(chrome, chromedriver))
    fetched = Binaries(Path(answer["browser_path"]), Path(answer["driver_path"]))
    for path, needed in ((fetched.chrome, chrome is None), (fetched.chromedriver, chromedriver is None)):
        if needed and (not machine.is_program(str(path)) or _is_snap(str(path), machine)):
            raise _NotFetched(f"Selenium Manager answered {str(path)!r}")
    return fetched


def _manager_arguments(chrome: Path | None, chromedriver: Path | None) -> list[str]:
    # PATH has been searched, by us and with more care; and no machine of a user reports its use to strangers.
    arguments = ["--browser", "chrome", "--skip-driver-in-path", "--skip-browser-in-path", "--avoid-stats"]
    if chrome:
        return [*arguments, "--browser-path", str(chrome)]
    version = _version(chromedriver) if chromedriver else ""
    return [*arguments, "--browser-version", _major(version)] if version else arguments


def _ask_selenium_manager(arguments: Sequence[str]) -> Mapping[str, str]:
    # Here, since run.py imports this module before Selenium is installed.
    from selenium.common import WebDriverException  # noqa: PLC0415
    from selenium.webdriver.common.selenium_manager import SeleniumManager  # noqa: PLC0415

    try:
        # Selenium's own way to run it knows no limit of time, and hands our token on.
        manager = SeleniumManager._get_binary()  # noqa: SLF001
        done = _run([str(manager), *arguments, "--output", "json"], FETCH_TIMEOUT_S)
    except WebDriverException as error:
        raise _NotFetched(error.msg) from error
    except subprocess.TimeoutExpired as error:
        raise _NotFetched(f"no answer within {FETCH_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise _NotFetched(f"it cannot be run: {error}") from error
    told = _manager_answer(done.stdout)
    if done.returncode or not told:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise _NotFetched(told.get("message") or said or f"it ended with {done.returncode}")
    return told


def _manager_answer(said: bytes) -> Mapping[str, str]:
    """Give the texts of Selenium Manager's answer by their names; none where it is no answer."""
    try:
        result = json.loads(said)["result"]
        return {name: str(result.get(name) or "") for name in ("browser_path", "driver_path", "message")}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def _nothing_to_run(
    chrome: Path | None, chromedriver: Path | None, cause: str, passed_over: str | None
) -> str:
    if passed_over is not None:
        return f"{passed_over} (this time it could not: {cause})"
    debian = "on Debian run `apt-get install chromium chromium-driver`"
    if chrome is None:
        missing = "Chrome" if chromedriver else "Chrome with its ChromeDriver"
        advice = f"{debian}, elsewhere install Google Chrome"
    else:
        missing = f"ChromeDriver for {chrome}"
        advice = f"{debian}, elsewhere name one of Chrome's version in {CHROMEDRIVER_VARIABLE}"
    return f"no {missing} was found, and Selenium Manager could not fetch what is missing ({cause}): {advice}"


def _version(program: Path) -> str:
    """Give what `--version` says, or nothing where the program fails or says none within ten seconds."""
    try:
        said = _run([str(program), "--version"], VERSION_TIMEOUT_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(rb"\d+(\.\d+)+", said)
    return found.group().decode() if found else ""


def _run(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - a program that was found or set
        command,
        capture_output=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("DROVER_")},
        stdin=subprocess.DEVNULL,
        timeout=timeout,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _major(version: str) -> str:
    return version.partition(".")[0]


def _is_program(path: str) -> bool:
    # Path.is_file() raises where a folder on the way may not be searched, as root's on an inherited PATH.
    return os.path.isfile(path) and os.access(path, os.X_OK)  # noqa: PTH113


def _read_head(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(SCRIPT_HEAD_BYTES)
    except OSError:
        return b""
