"""What ChromeDriver is asked for: the client's capabilities, the operator's switches, and Drover's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.browser.capabilities.chrome_options import CHROME_OPTIONS
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.capabilities.preferences import preference_names
from drover.browser.capabilities.standard import LOGGING_PREFS
from drover.browser.capabilities.switches import Switch, combined
from drover.browser.capabilities.values import mapping, strings

# Chrome would write every line of every page's console to a file in the profile, without any limit.
_NOT_FROM_CHROMEDRIVER = "enable-logging"

# With a given profile Chrome would open its new-tab page, which takes 90 ms longer than the empty
# page that ChromeDriver opens on a profile of its own.
_START_PAGE = {"session.restore_on_startup": 4, "session.startup_urls": ["data:,"]}

# State of ChromeDriver, not of Chrome.
_KEPT_BY_REATTACH = (
    "acceptInsecureCerts",
    "pageLoadStrategy",
    "strictFileInteractability",
    "timeouts",
    "unhandledPromptBehavior",
    "webSocketUrl",
    LOGGING_PREFS,
)
_OPTIONS_KEPT_BY_REATTACH = ("enableExtensionTargets", "perfLoggingPrefs", "windowTypes")


def for_start(
    checked: CheckedCapabilities,
    *,
    binary: str,
    profile: str,
    downloads: str,
    extensions: Sequence[str],
    headless: bool,
    no_sandbox: bool,
    extra_args: Sequence[str],
) -> dict[str, object]:
    """Return the `alwaysMatch` of a new session: the client's capabilities merged with Drover's.

    A client's switch replaces the operator's of the same name (`extra_args`), and that replaces
    Drover's, except for the profile's; lists of features are joined. ChromeDriver itself adds the
    switches that automation needs, so Drover adds only those that depend on the settings.
    """
    options = _options(checked)
    args = strings(options.get("args", []), "args")
    switches = {"headless": "new"} if headless else {}
    if no_sandbox:
        switches["no-sandbox"] = ""
    switches |= combined([*extra_args, *args])
    if extensions:
        loaded = switches.get("load-extension")
        switches["load-extension"] = ",".join([*([loaded] if loaded else []), *extensions])
    switches["user-data-dir"] = profile
    excluded = strings(options.get("excludeSwitches", []), "excludeSwitches")
    prefs = mapping(options.get("prefs", {}), "prefs")
    asked = {
        **options,
        "binary": binary,
        "args": [str(Switch(name, value)) for name, value in switches.items()],
        "prefs": {**_ours_unless_named(prefs, downloads), **prefs},
        "excludeSwitches": list(dict.fromkeys([_NOT_FROM_CHROMEDRIVER, *excluded])),
    }
    return {**checked.capabilities, CHROME_OPTIONS: asked}


def for_reattach(checked: CheckedCapabilities, debugger_address: str) -> dict[str, object]:
    """Return the `alwaysMatch` that attaches a new ChromeDriver to a running browser at `host:port`.

    It must not change the page. With a `debuggerAddress` ChromeDriver 156 rejects `mobileEmulation` and
    `excludeSwitches`; the device is set in another way (`device_emulation.py`), and `args` and `prefs` are
    already in effect in Chrome. With `webSocketUrl` it sends a page to about:blank: the address must be that
    of a gate that offers it a spare one (`bidi_attach.py`).
    """
    kept = {name: v for name, v in checked.capabilities.items() if name in _KEPT_BY_REATTACH}
    options = {name: v for name, v in _options(checked).items() if name in _OPTIONS_KEPT_BY_REATTACH}
    return {**kept, CHROME_OPTIONS: {**options, "debuggerAddress": debugger_address}}


def _ours_unless_named(prefs: Mapping[str, object], downloads: str) -> dict[str, object]:
    ours = {
        **_START_PAGE,
        "download.default_directory": downloads,
        "download.prompt_for_download": False,
        "savefile.default_directory": downloads,
    }
    named = preference_names(prefs)
    return {name: value for name, value in ours.items() if name not in named}


def _options(checked: CheckedCapabilities) -> dict[str, object]:
    return mapping(checked.capabilities.get(CHROME_OPTIONS, {}), CHROME_OPTIONS)
