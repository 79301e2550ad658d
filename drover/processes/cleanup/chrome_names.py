"""Which executables are Chrome's and ChromeDriver's, exactly, on each system.

Half of what has "chrome" in its name is no browser (`chrome-gnome-shell`, native messaging hosts, Chrome
Remote Desktop, the crash handlers of Electron programs), so a name only narrows the search; the executable
decides.
Everything here is pure text work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final, Literal

System = Literal["linux", "windows", "darwin"]


class Role(str, Enum):
    """What a process does in a tree of ChromeDriver and Chrome."""

    DRIVER = "driver"
    BROWSER = "browser"
    RENDERER = "renderer"
    GPU = "gpu"
    UTILITY = "utility"
    ZYGOTE = "zygote"
    CRASHPAD = "crashpad"
    OTHER = "other"


class Kind(Enum):
    """What an executable is."""

    DRIVER = "ChromeDriver"
    CHROME = "Chrome"
    CRASH_HANDLER = "crash handler"
    SIDE_PROGRAM = "side program of Chrome"


_DRIVER = re.compile(r"(?:(?:undetected|[0-9a-f]{6,32})_)?chromedriver(?:\.exe)?")
_CHROME: Final = {
    "linux": re.compile(
        r"chrome|chromium|chromium-browser|chrome-headless-shell|headless_shell"
        r"|google-chrome(?:-stable|-beta|-unstable|-canary)?"
    ),
    "windows": re.compile(r"(?:chrome|chromium|chrome-headless-shell|headless_shell)\.exe"),
    "darwin": re.compile(
        r"(?:Google Chrome(?: Beta| Dev| Canary| for Testing)?|Chromium)"
        r"(?: Helper(?: \((?:Renderer|GPU|Alerts|Plugin)\))?)?|chrome-headless-shell|headless_shell"
    ),
}
_CRASH_HANDLER = re.compile(r"(?:chrome_)?crashpad_handler(?:\.exe)?")
_SIDE_PROGRAM = re.compile(r"nacl_helper|chrome-sandbox|chrome_sandbox")

# The kernel cuts names to 15 characters, and a defunct process has no other name left.
_CUT_NAMES: Final = {
    "chrome-headless": Kind.CHROME,
    "chromium-browse": Kind.CHROME,
    "chrome_crashpad": Kind.CRASH_HANDLER,
    "undetected_chro": Kind.DRIVER,
}
_FIFTEEN_HEX = re.compile(r"[0-9a-f]{15}")

_CHROME_FOLDER = re.compile(
    r"(?:google-)?chrom(?:e|ium)(?:-browser|-stable|-beta|-unstable|-dev|-canary|-for-testing)?"
    r"|chrome(?:-headless-shell)?-(?:linux|mac|win)[\w-]*"
    r"|(?:Google Chrome(?: Beta| Dev| Canary| for Testing)?|Chromium)(?:\.app| Framework\.framework)"
)
_TYPE = re.compile(r"(?:^|\s)--type=([\w-]+)")
_WEBDRIVER_TEST = re.compile(r"(?:^|\s)--test-type=webdriver(?:\s|$)")
_ROLES: Final = {
    "renderer": Role.RENDERER,
    "gpu-process": Role.GPU,
    "utility": Role.UTILITY,
    "zygote": Role.ZYGOTE,
    "crashpad-handler": Role.CRASHPAD,
}


def may_be_chrome(name: str) -> bool:
    """Tell whether a process of this name (also one cut to 15 characters) is worth a closer look."""
    lowered = name.lower()
    return (
        "chrom" in lowered
        or lowered.startswith(("undetected_chro", "headless_shell", "crashpad_handle", "nacl_helper"))
        or _FIFTEEN_HEX.fullmatch(name) is not None
    )


def kind_of_name(name: str, system: System) -> Kind | None:
    """Give what an executable of exactly this base name is, or None for anything that is not Chrome's."""
    exact = name.lower() if system == "windows" else name
    if _DRIVER.fullmatch(exact):
        return Kind.DRIVER
    if _CHROME[system].fullmatch(exact):
        return Kind.CHROME
    if _CRASH_HANDLER.fullmatch(exact):
        return Kind.CRASH_HANDLER
    return Kind.SIDE_PROGRAM if _SIDE_PROGRAM.fullmatch(exact) else None


def kind_of_cut_name(name: str, system: System) -> Kind | None:
    """Give what a name that the kernel may have cut stands for: good enough to list, not to kill."""
    if _FIFTEEN_HEX.fullmatch(name):
        return Kind.DRIVER
    return kind_of_name(name, system) or _CUT_NAMES.get(name)


def base_name(path: str) -> str:
    """Give the last part of a path with either kind of separator."""
    return re.split(r"[\\/]", path)[-1]


def folder_of(path: str) -> str:
    """Give the folder that a path lies in."""
    return path[: max(path.rfind("/"), path.rfind("\\"), 0)]


def lies_in_chrome_folder(exe: str) -> bool:
    """Tell whether an executable lies in a folder that Chrome or Chromium installs, by the folder's name.

    On macOS the crash handler lies deep inside the program's bundle, elsewhere directly beside the browser.
    """
    parts = re.split(r"[\\/]", folder_of(exe))
    bundles = [part for part in parts if part.endswith((".app", ".framework"))]
    return any(_CHROME_FOLDER.fullmatch(part) for part in [*bundles, parts[-1]])


def role_of(kind: Kind, cmdline: Sequence[str] | None) -> Role:
    """Give the role of a process from its executable and its `--type=` switch.

    A helper's arguments may be one string joined by spaces: Chrome's children re-write theirs.
    """
    if kind is Kind.DRIVER:
        return Role.DRIVER
    if kind is Kind.CRASH_HANDLER:
        return Role.CRASHPAD
    if kind is Kind.SIDE_PROGRAM or cmdline is None:
        return Role.OTHER
    found = _TYPE.search(" ".join(cmdline))
    return _ROLES.get(found[1], Role.OTHER) if found else Role.BROWSER


def is_webdriver_test(cmdline: Sequence[str] | None) -> bool:
    """Tell whether a browser's command line says that a ChromeDriver started it: necessary, but no proof."""
    return _WEBDRIVER_TEST.search(" ".join(cmdline or ())) is not None
