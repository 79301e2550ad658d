"""The commands that set an emulated device again are those that ChromeDriver uses itself."""

from __future__ import annotations

from drover.browser.device_emulation import device_commands
from drover.browser.running_browser import Screen

PHONE = "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 Mobile Safari/537.36"
TABLET = "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"


def test_a_device_chosen_by_name_is_what_the_page_has_said() -> None:
    # As in the log of ChromeDriver 156.
    commands = device_commands({"deviceName": "Pixel 7"}, Screen(412, 915, 2.625, PHONE, 1))
    assert commands == (
        (
            "Emulation.setDeviceMetricsOverride",
            {"width": 412, "height": 915, "deviceScaleFactor": 2.625, "mobile": True},
        ),
        ("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 1}),
        (
            "Emulation.setUserAgentOverride",
            {
                "userAgent": PHONE,
                "userAgentMetadata": {
                    "platform": "Android",
                    "platformVersion": "13",
                    "architecture": "",
                    "model": "Pixel 7",
                    "mobile": True,
                    "bitness": "",
                    "wow64": False,
                },
            },
        ),
    )


def test_given_metrics_are_set_as_they_were_given() -> None:
    given = {"width": 400, "height": 600, "pixelRatio": 2.0, "touch": False, "mobile": False}
    assert device_commands(
        {"deviceMetrics": given}, Screen(800, 600, 2.0, "Mozilla/5.0 (X11; Linux)", 0)
    ) == (
        (
            "Emulation.setDeviceMetricsOverride",
            {"width": 400, "height": 600, "deviceScaleFactor": 2.0, "mobile": False},
        ),
        ("Emulation.setTouchEmulationEnabled", {"enabled": False}),
    )


def test_only_a_user_agent_leaves_the_screen_alone() -> None:
    (command,) = device_commands({"userAgent": TABLET}, Screen(800, 600, 1.0, TABLET, 0))
    method, parameters = command
    assert method == "Emulation.setUserAgentOverride"
    hints = parameters["userAgentMetadata"]
    assert isinstance(hints, dict)
    assert (hints["platform"], hints["platformVersion"], hints["model"]) == ("iOS", "18.5", "iPad")


def test_client_hints_of_the_client_come_first_and_an_unknown_agent_has_none() -> None:
    wanted = {"userAgent": "me/1.0", "clientHints": {"platform": "Fuchsia", "mobile": False}}
    screen = Screen(800, 600, 1.0, "me/1.0", 0)
    assert device_commands(wanted, screen)[0][1]["userAgentMetadata"] == wanted["clientHints"]
    assert device_commands({"userAgent": "me/1.0"}, screen) == (
        ("Emulation.setUserAgentOverride", {"userAgent": "me/1.0"}),
    )
