"""The exact names of the executables of Chrome and ChromeDriver on each system. Pure text functions.

Half of the programs with "chrome" in their name are not browsers (`chrome-gnome-shell`, native messaging
hosts, Chrome Remote Desktop, the crash handlers of Electron programs). So a name only narrows the search; the
executable decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Final, Literal

from drover.processes.command_line import has_switch, switch_value, switch_values

System = Literal["linux", "windows", "darwin"]


class Role(str, Enum):
    """The role of a process in a tree of ChromeDriver and Chrome."""

    DRIVER = "driver"
    BROWSER = "browser"
    RENDERER = "renderer"
    GPU = "gpu"
    UTILITY = "utility"
    ZYGOTE = "zygote"
    CRASHPAD = "crashpad"
    OTHER = "other"


class Kind(Enum):
    """The kind of an executable."""

    DRIVER = "ChromeDriver"
    CHROME = "Chrome"
    CRASH_HANDLER = "crash handler"
    SIDE_PROGRAM = "auxiliary program of Chrome"


# Images and tools add a version, a system or a brand to the name: `chromedriver-156.0.8078.79` in
# docker-selenium, `chromedriver_linux64`, `msedgedriver`, `uc_driver` in SeleniumBase.
_PART = (
    r"(?:v?\d[\w.+]*|linux\w*|mac\w*|darwin\w*|osx\w*|win\w*|x\d+|x86_64|amd64|arm\w*|aarch64|64|32"
    r"|stable|beta|dev|canary|real|orig(?:inal)?|bin|patched|copy)"
)
_DRIVER = re.compile(
    rf"(?:(?:undetected|electron|[0-9a-f]{{6,32}})[_-])?"
    rf"(?:chrome|chromium|msedge|edge|opera|brave|vivaldi|uc_|yandex)driver(?:[_.-]{_PART})*(?:\.exe)?"
)
_CHROME: Final = {
    "linux": re.compile(
        r"chrome|chromium|chromium-browser|(?:chrome|chromium)-headless-shell|headless_shell"
        r"|google-chrome(?:-stable|-beta|-unstable|-canary)?"
    ),
    "windows": re.compile(r"(?:chrome|chromium|(?:chrome|chromium)-headless-shell|headless_shell)\.exe"),
    "darwin": re.compile(
        r"(?:Google Chrome(?: Beta| Dev| Canary| for Testing)?|Chromium)"
        r"(?: Helper(?: \((?:Renderer|GPU|Alerts|Plugin)\))?)?|chrome-headless-shell|headless_shell"
    ),
}
_BRANDED = re.compile(
    r"(?:brave|vivaldi|msedge|microsoft-edge|opera|thorium|yandex|electron|iridium|cromite"
    r"|Brave Browser|Microsoft Edge|Vivaldi|Opera|Arc|Yandex)\b.*",
    re.IGNORECASE,
)
"""Browsers and programs built on Chromium under other names; only a ChromeDriver treats them as Chrome."""
_CRASH_HANDLER = re.compile(r"(?:chrome_)?crashpad_handler(?:\.exe)?")
_SIDE_PROGRAM = re.compile(r"nacl_helper|chrome-sandbox|chrome_sandbox")

# The kernel cuts names to 15 characters, and a defunct process has no other name.
_CUT_NAMES: Final = {
    "chrome-headless": Kind.CHROME,
    "chromium-browse": Kind.CHROME,
    "chrome_crashpad": Kind.CRASH_HANDLER,
    "chromium-headle": Kind.CHROME,
    "undetected_chro": Kind.DRIVER,
}
_FIFTEEN_HEX = re.compile(r"[0-9a-f]{15}")

_CHROME_FOLDER = re.compile(
    r"(?:google-)?chrom(?:e|ium)(?:-browser|-stable|-beta|-unstable|-dev|-canary|-for-testing)?"
    r"|chrome(?:-headless-shell)?-(?:linux|mac|win)[\w-]*"
    r"|(?:Google Chrome(?: Beta| Dev| Canary| for Testing)?|Chromium)(?:\.app| Framework\.framework)"
)
_INIT = re.compile(
    r"systemd|init|launchd|(?:tini|dumb-init|docker-init|podman-init|catatonit)(?:[_-][\w.+-]*)?"
    r"|s6-(?:svscan|linux-init|overlay-suexec)|runit(?:-init)?|openrc-init|sysvinit|finit|dinit|pause"
)
"""Executables of init programs, of systems and of containers."""
_DEVTOOLS = ("remote-debugging-port", "remote-debugging-pipe")
_MADE_PROFILE = re.compile(r".*[\\/]scoped_dir(\d{1,10})_\d+", re.DOTALL)
_ROLES: Final = {
    "renderer": Role.RENDERER,
    "gpu-process": Role.GPU,
    "utility": Role.UTILITY,
    "zygote": Role.ZYGOTE,
    "crashpad-handler": Role.CRASHPAD,
}


def may_be_chrome(name: str) -> bool:
    """Return whether a process with this name, possibly cut to 15 characters, must be inspected."""
    lowered = name.lower()
    return (
        "chrom" in lowered
        or lowered.startswith(("undetected_chro", "headless_shell", "crashpad_handle", "nacl_helper"))
        or _FIFTEEN_HEX.fullmatch(name) is not None
    )


def is_worth_reading(name: str) -> bool:
    """Return whether a process of this name, which may be cut, may be Chrome or a driver in some form."""
    return may_be_chrome(name) or "driver" in name.lower() or is_branded(name)


def is_branded(name: str) -> bool:
    """Return whether an executable's base name is that of a browser built on Chromium, or of Electron."""
    return _BRANDED.fullmatch(name) is not None


def kind_of_name(name: str, system: System) -> Kind | None:
    """Return the kind of an executable with exactly this base name; None if it is not Chrome's."""
    exact = name.lower() if system == "windows" else name
    if _DRIVER.fullmatch(exact):
        return Kind.DRIVER
    if _CHROME[system].fullmatch(exact):
        return Kind.CHROME
    if _CRASH_HANDLER.fullmatch(exact):
        return Kind.CRASH_HANDLER
    return Kind.SIDE_PROGRAM if _SIDE_PROGRAM.fullmatch(exact) else None


def kind_of_cut_name(name: str, system: System) -> Kind | None:
    """Return the kind for a name that the kernel may have cut: enough to list a process, not to end it."""
    if _FIFTEEN_HEX.fullmatch(name):
        return Kind.DRIVER
    return kind_of_name(name, system) or _CUT_NAMES.get(name)


def base_name(path: str) -> str:
    """Return the last part of a path with either kind of separator."""
    return re.split(r"[\\/]", path)[-1]


def folder_of(path: str) -> str:
    """Return the folder of a path."""
    return path[: max(path.rfind("/"), path.rfind("\\"), 0)]


def lies_in_chrome_folder(exe: str) -> bool:
    """Return whether an executable is in a folder of Chrome or Chromium, judged by the name of the folder.

    On macOS the crash handler is deep inside the application bundle, elsewhere beside the browser.
    """
    parts = re.split(r"[\\/]", folder_of(exe))
    bundles = [part for part in parts if part.endswith((".app", ".framework"))]
    return any(_CHROME_FOLDER.fullmatch(part) for part in [*bundles, parts[-1]])


def is_helper(cmdline: Sequence[str]) -> bool:
    """Return whether a command line is that of one of Chrome's helpers, which Chrome itself starts."""
    return bool(switch_values(cmdline, "type"))


def role_of(kind: Kind, cmdline: Sequence[str] | None) -> Role:
    """Return the role of a process from its executable and its `--type=` switch."""
    if kind is Kind.DRIVER:
        return Role.DRIVER
    if kind is Kind.CRASH_HANDLER:
        return Role.CRASHPAD
    if kind is Kind.SIDE_PROGRAM or cmdline is None:
        return Role.OTHER
    types = switch_values(cmdline, "type")
    return _ROLES.get(types[0], Role.OTHER) if types else Role.BROWSER


def is_driven(cmdline: Sequence[str] | None) -> bool:
    """Return whether a command line has the switches with which a ChromeDriver starts a browser.

    `excludeSwitches` can take `--test-type=webdriver` away, but none of the two for DevTools.
    """
    return any(map(partial(has_switch, cmdline), _DEVTOOLS)) or is_webdriver_test(cmdline)


def init_name(exe: str | None, cmdline: Sequence[str] | None) -> str | None:
    """Return the name of an init by its executable, or None if it is no init that is known.

    An init adopts what other programs leave behind. A program that only reaps (a shell does) is none, and a
    process manager (supervisord, pm2, circus) started its children itself. BusyBox is an init if it runs as
    `init`.
    """
    name = base_name(exe or "")
    if name == "busybox":
        name = base_name(cmdline[0]) if cmdline else name
    return name if _INIT.fullmatch(name) else None


def is_headless(cmdline: Sequence[str] | None) -> bool:
    """Return whether the command line of a browser says that it has no windows."""
    return has_switch(cmdline, "headless")


def profile_maker(cmdline: Sequence[str] | None) -> int | None:
    """Return the pid of the ChromeDriver that made the profile on a command line of Windows, if one did."""
    found = _MADE_PROFILE.fullmatch(switch_value(cmdline, "user-data-dir") or "")
    return int(found[1]) if found else None


def is_webdriver_test(cmdline: Sequence[str] | None) -> bool:
    """Return whether the command line of a browser has ChromeDriver's switch: necessary, but not a proof."""
    return switch_value(cmdline, "test-type") == "webdriver"
