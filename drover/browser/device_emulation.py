"""The device of the capability `mobileEmulation`, set in the open tabs again after a re-attach.

ChromeDriver knows its devices by name, and takes `mobileEmulation` only for a browser that it starts. So the
device is read from the browser's first page, and set again with the commands that ChromeDriver 156 uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from drover.browser import driver_client
from drover.browser.capabilities.chrome_options import CHROME_OPTIONS
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.running_browser import RunningBrowser, Screen

LOST_DEVICE = "mobile_emulation"
COMMAND_S = 5.0
CDP = "/goog/cdp/execute"
_READ = """return [screen.width, screen.height, devicePixelRatio, navigator.userAgent,
  navigator.maxTouchPoints]"""
_ANDROID = re.compile(r"Android (?P<version>[\d.]+)(?:; (?P<model>[^;)]+))?")
_IOS = re.compile(r"\((?P<model>iPhone|iPad|iPod).*? OS (?P<version>[\d_]+)")
_DESKTOPS = {"Windows": "Windows", "Macintosh": "macOS", "CrOS": "Chrome OS", "Linux": "Linux"}
_MOBILE = re.compile(r"Mobi|Android")

Command = tuple[str, Mapping[str, object]]
"""A command of DevTools: its method and its parameters."""


def requested(checked: CheckedCapabilities) -> Mapping[str, Any]:
    """Return the value of `mobileEmulation`; empty if no device is emulated."""
    options = checked.capabilities.get(CHROME_OPTIONS)
    wanted = options.get("mobileEmulation") if isinstance(options, Mapping) else None
    return wanted if isinstance(wanted, Mapping) else {}


def read_screen(running: RunningBrowser, checked: CheckedCapabilities) -> Screen | None:
    """Return what a browser that was just started says of its device; None if it emulates none."""
    if not requested(checked):
        return None
    try:
        found = driver_client.send(running, "/execute/sync", {"script": _READ, "args": []}, COMMAND_S)
    except driver_client.CommandFailed:
        # The session does not need it now; if it ever does, the loss is named.
        return None
    if not isinstance(found, list):
        return None
    width, height, ratio, agent, touch_points = found
    return Screen(int(width), int(height), float(ratio), str(agent), int(touch_points))


def device_commands(wanted: Mapping[str, Any], screen: Screen) -> tuple[Command, ...]:
    """Return the commands that make a page that of a device.

    Args:
        wanted: The value of `mobileEmulation`.
    """
    return (*_metrics(wanted, screen), *_user_agent(wanted, screen))


def _metrics(wanted: Mapping[str, Any], screen: Screen) -> tuple[Command, ...]:
    given = wanted.get("deviceMetrics")
    if given is None and "deviceName" not in wanted:
        return ()
    given = given or {}
    metrics = {
        "width": given.get("width", screen.width),
        "height": given.get("height", screen.height),
        "deviceScaleFactor": given.get("pixelRatio", screen.pixel_ratio),
        "mobile": given.get("mobile", _is_mobile(screen.user_agent) or "deviceName" not in wanted),
    }
    touch = {"enabled": bool(screen.touch_points)} | (
        {"maxTouchPoints": screen.touch_points} if screen.touch_points else {}
    )
    return ("Emulation.setDeviceMetricsOverride", metrics), ("Emulation.setTouchEmulationEnabled", touch)


def _user_agent(wanted: Mapping[str, Any], screen: Screen) -> tuple[Command, ...]:
    if not {"userAgent", "deviceName", "clientHints"} & wanted.keys():
        return ()
    agent = screen.user_agent
    hints = {**_client_hints(agent), **(wanted.get("clientHints") or {})}
    parameters = {"userAgent": agent} | ({"userAgentMetadata": hints} if hints else {})
    return (("Emulation.setUserAgentOverride", parameters),)


def _client_hints(agent: str) -> dict[str, object]:
    """Return the client hints that fit a user agent, as ChromeDriver guesses them; empty if unknown."""
    android, ios = _ANDROID.search(agent), _IOS.search(agent)
    if android is not None:
        platform, version, model = "Android", android["version"], android["model"] or ""
    elif ios is not None:
        platform, version, model = "iOS", ios["version"].replace("_", "."), ios["model"]
    else:
        version = model = ""
        platform = next((name for word, name in _DESKTOPS.items() if word in agent), "")
        if not platform:
            return {}
    hints = {"platform": platform, "platformVersion": version, "architecture": "", "model": model}
    return hints | {"mobile": _is_mobile(agent), "bitness": "", "wow64": False}


def _is_mobile(agent: str) -> bool:
    return _MOBILE.search(agent) is not None


def set_device(
    running: RunningBrowser, checked: CheckedCapabilities, handles: Sequence[str]
) -> tuple[str, ...]:
    """Set the device again in the open windows; return what is lost: windows that open later have none.

    The last of the windows stays chosen.
    """
    wanted = requested(checked)
    if not wanted:
        return ()
    commands = device_commands(wanted, running.screen) if running.screen is not None else ()
    for handle in handles if commands else ():
        try:
            driver_client.choose_window(running, handle, COMMAND_S)
            for method, parameters in commands:
                driver_client.send(running, CDP, {"cmd": method, "params": parameters}, COMMAND_S)
        except driver_client.CommandFailed:
            # It was closed, or does not answer; the loss is named in any case.
            continue
    return (LOST_DEVICE,)
