"""Search for Chrome and ChromeDriver on this machine.

Needs only the standard library, so that `run.py` can import it before anything is installed;
Selenium Manager is imported at the call.
"""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drover.browser import selenium_manager
from drover.browser.selenium_manager import NotFetched
from drover.browser.versions import chrome_version, printed_version, version_advice
from drover.core.errors import BrowserUnavailable, StartRefused

CHROME_VARIABLE = "DROVER_CHROME_BINARY"
CHROMEDRIVER_VARIABLE = "DROVER_CHROMEDRIVER"
# Long enough for the stub script in Ubuntu's deb package that starts the snap.
SCRIPT_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Binaries:
    """The paths of Chrome and ChromeDriver."""

    chrome: Path
    chromedriver: Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What the search needs to know of a machine, so that tests can describe every system as data.

    Args:
        system: As in `sys.platform`.
        is_program: Returns whether there is an executable file at a path.
        real_path: Resolves every symbolic link in a path.
        read_head: Returns the first bytes of a file; empty if it cannot be read.
    """

    system: str
    environ: Mapping[str, str]
    is_program: Callable[[str], bool]
    real_path: Callable[[str], str]
    read_head: Callable[[str], bytes]


def _is_program(path: str) -> bool:
    # Path.is_file() raises if a parent folder may not be searched, as root's on an inherited PATH.
    return os.path.isfile(path) and os.access(path, os.X_OK)  # noqa: PTH113


def _read_head(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(SCRIPT_HEAD_BYTES)
    except OSError:
        return b""


THIS_MACHINE = Machine(sys.platform, os.environ, _is_program, os.path.realpath, _read_head)


@dataclass(frozen=True, slots=True)
class _Program:
    """A program to search for: names on PATH, then places (environment variable, rest), both by system."""

    title: str
    variable: str
    names: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[tuple[str, str], ...]]


# Chromium comes first on Linux: if both are installed, the system's ChromeDriver is Chromium's.
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

# Packages start the browser by a script. Debian's costs about 40 ms per start. That of Google and of all
# browsers that are packaged in the same way leaves two `cat` behind (chrome/installer/linux/common/wrapper).
_DEBIANS_WRAPPER, _BEHIND_IT = "/usr/bin/chromium", "/usr/lib/chromium/chromium"
_RUNS_ITS_NEIGHBOUR = re.compile(rb'^exec -a "\$0" "\$HERE/([\w.-]+)"\s+"\$@"\s*$', re.MULTILINE)


def find_chrome(setting: str | None, machine: Machine = THIS_MACHINE) -> Path | None:
    """Return the path of Chrome: from the setting, else from PATH, else from the system's usual places.

    None if there is none. A Chromium from snap is skipped: its `/tmp` is private and it cannot read
    hidden folders.

    Raises:
        StartRefused: The setting does not name an executable file, or names a snap's.
    """
    return _find(_CHROME, setting, machine)


def find_chromedriver(setting: str | None, machine: Machine = THIS_MACHINE) -> Path | None:
    """Return the path of ChromeDriver, found in the same way as in `find_chrome`.

    Raises:
        StartRefused: The setting does not name an executable file, or names a snap's.
    """
    return _find(_CHROMEDRIVER, setting, machine)


def snap_notice(machine: Machine = THIS_MACHINE) -> str | None:
    """Return the line to show if the search has skipped a snap's Chromium, else None."""
    for candidate in _candidates(_CHROME, machine):
        if machine.is_program(candidate) and _is_snap(candidate, machine):
            advice = "install Google Chrome, or let Selenium Manager download one"
            return f"{candidate} is not used: {_SNAP_REASON}; {advice}"
    return None


def resolve(
    chrome_setting: str | None, chromedriver_setting: str | None, machine: Machine = THIS_MACHINE
) -> Binaries:
    """Return both paths; Selenium Manager downloads what is missing, within five minutes.

    Raises:
        StartRefused: A setting does not name an executable file, or names a snap's.
        BrowserUnavailable: A program was not found, and Selenium Manager could not download it.
    """
    chrome = find_chrome(chrome_setting, machine)
    chromedriver = find_chromedriver(chromedriver_setting, machine)
    if chrome and chromedriver:
        return Binaries(chrome, chromedriver)
    skipped = None if chrome else snap_notice(machine)
    try:
        fetched = _fetch(chrome, chromedriver, machine)
    except NotFetched as error:
        raise BrowserUnavailable(_not_found(chrome, chromedriver, error, skipped)) from error
    return Binaries(chrome or fetched.chrome, chromedriver or fetched.chromedriver)


def matching(
    binaries: Binaries, chromedriver_setting: str | None, machine: Machine = THIS_MACHINE
) -> Binaries:
    """Return Chrome with the ChromeDriver that Selenium Manager has for it, whatever is installed.

    Raises:
        BrowserUnavailable: A setting names the ChromeDriver, or Selenium Manager cannot download one.
    """
    if chromedriver_setting:
        raise BrowserUnavailable(f"{CHROMEDRIVER_VARIABLE} names a ChromeDriver, so no other is looked for")
    try:
        fetched = _fetch(binaries.chrome, None, machine)
    except NotFetched as error:
        raise BrowserUnavailable(_not_found(binaries.chrome, None, error, None)) from error
    return Binaries(binaries.chrome, fetched.chromedriver)


def versions(binaries: Binaries) -> tuple[str, str]:
    """Return the version numbers of Chrome and ChromeDriver, each empty if it is unknown."""
    return chrome_version(binaries.chrome), printed_version(binaries.chromedriver)


def unreadable(binaries: Binaries, chrome: str, driver: str, system: str = sys.platform) -> str | None:
    """Return which program's version, `chrome` or `driver`, is unknown, and what to do; None if neither's is.

    A Chrome for Windows whose file has no version is a private build, and may work all the same.
    """
    if driver and (chrome or system == "win32"):
        return None
    program = binaries.chrome if driver else binaries.chromedriver
    return f"`{program} --version` failed; {version_advice(program, system)}"


_OF_A_SNAP = re.compile(r"(/var/lib/snapd)?/snap/")
_RUNS_A_SNAP = re.compile(rb"/snap/bin/|\bsnap run\b")
_SNAP_REASON = "it comes from snap, so its /tmp is private and it cannot read hidden folders"


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
            f"{named}, which is not an executable file. "
            f"Set it to the full path of {program.title}, or unset it."
        )
        raise StartRefused(message)
    if _is_snap(setting, machine):
        message = (
            f"{named}, but {_SNAP_REASON}. Set it to the path of Google Chrome, "
            "or unset it so that Selenium Manager downloads one."
        )
        raise StartRefused(message)
    return Path(_unwrapped(setting, machine)).absolute()


def _candidates(program: _Program, machine: Machine) -> Iterator[str]:
    system = machine.system if machine.system in program.names else "linux"
    paths = ntpath if system == "win32" else posixpath
    folders = machine.environ.get("PATH", "").split(paths.pathsep)
    for name in program.names[system]:
        # A relative entry of PATH means a different program in every working directory.
        yield from (paths.join(folder, name) for folder in folders if paths.isabs(folder))
    for variable, rest in program.places[system]:
        if not variable:
            yield rest
        elif machine.environ.get(variable):
            yield paths.join(machine.environ[variable], rest.lstrip("/"))


def _unwrapped(candidate: str, machine: Machine) -> str:
    """Return the program that a known start script runs; a script that adds switches is used itself."""
    if not machine.system.startswith("linux"):
        return candidate
    real = machine.real_path(candidate)
    head = machine.read_head(real)
    neighbour = _RUNS_ITS_NEIGHBOUR.search(head) if head.startswith(b"#!") else None
    if neighbour is not None:
        behind = posixpath.join(posixpath.dirname(real), neighbour[1].decode())
    elif real == _DEBIANS_WRAPPER:
        behind = _BEHIND_IT
    else:
        return candidate
    return behind if machine.is_program(behind) else candidate


def _is_snap(path: str, machine: Machine) -> bool:
    """Return whether a program is a snap's: by its path, by snap's launcher, or by a script that runs it."""
    if not machine.system.startswith("linux"):
        return False
    real = machine.real_path(path)
    if any(_OF_A_SNAP.match(one) for one in (path, real)) or posixpath.basename(real) == "snap":
        return True
    head = machine.read_head(path)
    return head.startswith(b"#!") and _RUNS_A_SNAP.search(head) is not None


def _fetch(chrome: Path | None, chromedriver: Path | None, machine: Machine) -> Binaries:
    fetched = Binaries(*selenium_manager.fetch(chrome, chromedriver))
    for path, needed in ((fetched.chrome, chrome is None), (fetched.chromedriver, chromedriver is None)):
        if needed and (not machine.is_program(str(path)) or _is_snap(str(path), machine)):
            raise NotFetched(f"Selenium Manager answered {str(path)!r}")
    return fetched


def _not_found(chrome: Path | None, chromedriver: Path | None, error: NotFetched, skipped: str | None) -> str:
    cause = " ".join(str(error).split())
    if skipped is not None:
        return f"{skipped} (Selenium Manager failed: {cause})"
    debian = "on Debian run `apt-get install chromium chromium-driver`"
    if chrome is None:
        missing = "Chrome" if chromedriver else "Chrome with its ChromeDriver"
        advice = f"{debian}, on other systems install Google Chrome"
    else:
        missing = f"ChromeDriver for {chrome}"
        advice = (
            f"{debian}, on other systems set {CHROMEDRIVER_VARIABLE} to the path of one with Chrome's version"
        )
    return f"no {missing} was found, and Selenium Manager could not download it ({cause}): {advice}"
