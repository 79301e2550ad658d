"""The capability policy: an allow-list of what clients may request, and the merge with Drover's own switches.

Chrome's switches can run any program and read any file of the service's user, and some would hide
a session's processes from the service. So everything that is not known to be harmless is refused, and
the error names it.

Switches are compared as Chrome parses them on any system: one dash or two, in any case, with or
without a value. They are passed on in one spelling, so that what was checked is what Chrome gets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from drover.browser.capabilities import values
from drover.browser.capabilities.preferences import check_preferences
from drover.browser.capabilities.values import (
    Validator,
    cut,
    fields,
    forbidden,
    invalid,
    mapping,
    one_of,
    shown,
    strings,
)
from drover.core.errors import ForbiddenCapability, StartRefused

CHROME_OPTIONS = "goog:chromeOptions"
LOGGING_PREFS = "goog:loggingPrefs"

_SWITCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TOGGLE = re.compile(r"(?:enable|disable)-.+")
_ALLOWED_SWITCH = re.compile(
    r"""
    accept-lang | allow-insecure-localhost | allow-running-insecure-content | autoplay-policy
    | blink-settings | force-device-scale-factor | headless | hide-scrollbars | host-resolver-rules
    | ignore-certificate-errors | incognito | kiosk | lang | mute-audio | no-default-browser-check
    | no-first-run | no-proxy-server | password-store | proxy-bypass-list | proxy-pac-url | proxy-server
    | start-maximized | use-fake-device-for-media-stream | use-fake-ui-for-media-stream | user-agent
    | window-position | window-size
    """,
    re.VERBOSE,
)
_FEATURES = re.compile(r"(?:enable|disable)-(?:blink-)?features")
# Tutorials recommend these; refusing them would lead people to allow everything.
_DROPPED_SWITCHES = ("no-sandbox", "disable-setuid-sandbox", "remote-debugging-port")
_MARK = "a session's processes are found by it"
_REACH = "the service reaches the browser through a debugging port of its own"
_OUR_SWITCHES = {
    "crash-dumps-dir": _MARK,
    "remote-allow-origins": "web pages must not reach the debugging port",
    "remote-debugging-address": _REACH,
    "remote-debugging-pipe": _REACH,
    "remote-debugging-port": _REACH,
    "user-data-dir": _MARK,
}
_OUR_OPTIONS = {
    "binary": "every session runs the Chrome that DROVER_CHROME_BINARY names",
    "debuggerAddress": "every session has a browser of its own",
    "detach": "a session's browser ends with the session",
    "minidumpPath": _MARK,
}
_LOG_LEVELS = ("ALL", "DEBUG", "FINE", "FINER", "FINEST", "INFO", "OFF", "SEVERE", "WARNING")
# Clients send these by default; empty or false, they have no effect.
_NOTHING_WHEN_EMPTY = ("binary", "detach", "extensions", "localState", "useAutomationExtension")

# WebdriverIO's settings for itself, which it also sends to the server.
_OF_THE_CLIENT = "wdio:"
# What Selenium's clients send to a remote end; here downloads are enabled in every session.
_FOR_A_REMOTE_END: Mapping[str, Validator] = {
    "se:downloadsEnabled": values.boolean,
    "se:name": values.text,
    "se:remoteUrl": values.text,
}
# ChromeDriver rejects a request for setWindowRect, and any browser name but "chrome".
_NOT_FOR_CHROMEDRIVER = ("browserName", "setWindowRect", *_FOR_A_REMOTE_END)
# State of ChromeDriver, not of Chrome.
_KEPT_BY_REATTACH = (
    "acceptInsecureCerts",
    "pageLoadStrategy",
    "strictFileInteractability",
    "timeouts",
    "unhandledPromptBehavior",
    LOGGING_PREFS,
)
_OPTIONS_KEPT_BY_REATTACH = ("perfLoggingPrefs", "windowTypes")


@dataclass(frozen=True, slots=True)
class CheckedCapabilities:
    """Capabilities that passed the policy.

    Attributes:
        capabilities: A validated deep copy of the request, switches in one spelling.
        dropped: Names of switches that were removed because only the service sets them.
    """

    capabilities: Mapping[str, object]
    dropped: tuple[str, ...] = ()

    @property
    def wants_bidi(self) -> bool:
        """Whether a BiDi WebSocket is requested."""
        return self.capabilities.get("webSocketUrl") is True

    def with_timeouts(self, timeouts: Mapping[str, object]) -> CheckedCapabilities:
        """Return a copy with some of the session's timeouts (in ms) changed."""
        known = mapping(self.capabilities.get("timeouts", {}), "timeouts")
        return replace(self, capabilities={**self.capabilities, "timeouts": {**known, **timeouts}})


def check(capabilities: Mapping[str, object], *, allow_unsafe: bool) -> CheckedCapabilities:
    """Return the capabilities that a client requests, as in `alwaysMatch`, after the checks of the policy.

    With `allow_unsafe` the allow-list is not applied; what would keep the service from controlling the
    browser is refused nevertheless.

    Raises:
        ForbiddenCapability: Something is not allowed; the message names it.
        InvalidRequest: A value has the wrong type or is out of range; `details` names the field.
    """
    cleaned: dict[str, object] = {}
    dropped: tuple[str, ...] = ()
    for name, value in mapping(values.plain_json(capabilities, "capabilities"), "capabilities").items():
        field = f"capabilities.{name}"
        if value is None or name.startswith(_OF_THE_CLIENT):  # by the standard null means absent
            continue
        if name == CHROME_OPTIONS:
            cleaned[name], dropped = _check_options(mapping(value, field), field, allow_unsafe=allow_unsafe)
        elif name in _CAPABILITIES:
            cleaned[name] = _CAPABILITIES[name](value, field)
        elif allow_unsafe and ":" in name:
            cleaned[name] = value
        else:
            raise forbidden(field, f"The capability {shown(name)}")
    _check_performance_log(cleaned)
    return CheckedCapabilities(cleaned, dropped)


def check_chrome_args(args: Sequence[str]) -> None:
    """Raise unless all the operator's switches for Chrome are ones that the service does not set itself.

    Raises:
        StartRefused: The message names DROVER_CHROME_ARGS and the switch.
    """
    for arg in args:
        try:
            _refuse_ours(_read_switch(arg, "DROVER_CHROME_ARGS")[0], "DROVER_CHROME_ARGS")
        except ForbiddenCapability as error:
            raise StartRefused(f"DROVER_CHROME_ARGS: {error.message}") from error


def merge(
    checked: CheckedCapabilities,
    *,
    binary: str,
    profile: str,
    downloads: str,
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
    switches = {"headless": "new"} if headless else {}
    if no_sandbox:
        switches["no-sandbox"] = ""
    for arg in [*extra_args, *strings(options.get("args", []), "args")]:
        name, value = _read_switch(arg, "args")
        joined = _FEATURES.fullmatch(name) and name in switches
        switches[name] = _join_features(switches[name], value) if joined else value
    switches["user-data-dir"] = profile
    args = [_spell(name, value) for name, value in switches.items()]
    wanted = {name: v for name, v in checked.capabilities.items() if name not in _NOT_FOR_CHROMEDRIVER}
    prefs = {**_START_PAGE, **_downloads_to(downloads), **mapping(options.get("prefs", {}), "prefs")}
    return {**wanted, CHROME_OPTIONS: {**options, "binary": binary, "args": args, "prefs": prefs}}


# With a given profile Chrome would open its new-tab page, which takes 90 ms longer than the empty
# page that ChromeDriver opens on a profile of its own.
_START_PAGE = {"session.restore_on_startup": 4, "session.startup_urls": ["data:,"]}


def _downloads_to(folder: str) -> dict[str, object]:
    return {"download.default_directory": folder, "download.prompt_for_download": False}


def for_reattach(checked: CheckedCapabilities, debugger_address: str) -> dict[str, object]:
    """Return the `alwaysMatch` that attaches a new ChromeDriver to a running browser at `host:port`.

    It must not change the page. With a `debuggerAddress` ChromeDriver 156 rejects `mobileEmulation` and
    `excludeSwitches`, and with `webSocketUrl` it sends the page to about:blank, so an emulated device and
    a BiDi address are not restored; `args` and `prefs` are already in effect in Chrome.
    """
    kept = {name: v for name, v in checked.capabilities.items() if name in _KEPT_BY_REATTACH}
    options = {name: v for name, v in _options(checked).items() if name in _OPTIONS_KEPT_BY_REATTACH}
    return {**kept, CHROME_OPTIONS: {**options, "debuggerAddress": debugger_address}}


def _options(checked: CheckedCapabilities) -> dict[str, object]:
    return mapping(checked.capabilities.get(CHROME_OPTIONS, {}), CHROME_OPTIONS)


def _check_options(
    options: Mapping[str, object], field: str, *, allow_unsafe: bool
) -> tuple[dict[str, object], tuple[str, ...]]:
    cleaned: dict[str, object] = {}
    dropped: tuple[str, ...] = ()
    for name, value in options.items():
        inner = f"{field}.{name}"
        if name in _NOTHING_WHEN_EMPTY and not value:
            continue
        if name == "args":
            cleaned[name], dropped = _check_args(strings(value, inner), inner, allow_unsafe=allow_unsafe)
        elif name == "prefs":
            cleaned[name] = mapping(value, inner) if allow_unsafe else check_preferences(value, inner)
        elif name in _OPTIONS:
            cleaned[name] = _OPTIONS[name](value, inner)
        else:
            _check_other_option(name, inner, allow_unsafe=allow_unsafe)
            cleaned[name] = value
    return cleaned, dropped


def _check_other_option(name: str, field: str, *, allow_unsafe: bool) -> None:
    what = f"The Chrome option {shown(name)}"
    if name in _OUR_OPTIONS:
        raise forbidden(field, what, _OUR_OPTIONS[name])
    if name.startswith("android"):
        raise forbidden(field, what, "every session runs on this machine")
    if not allow_unsafe:
        raise forbidden(field, what)


def _check_args(args: Iterable[str], field: str, *, allow_unsafe: bool) -> tuple[list[str], tuple[str, ...]]:
    kept, dropped = [], []
    for arg in args:
        name, value = _read_switch(arg, field)
        if name in _DROPPED_SWITCHES:
            dropped.append(name)
            continue
        _refuse_ours(name, field)
        if allow_unsafe or _is_allowed(name, value):
            kept.append(_spell(name, value))
        else:
            has_other_form = _TOGGLE.fullmatch(name) or _ALLOWED_SWITCH.fullmatch(name)
            raise forbidden(field, f"The switch --{cut(name)}{' with this value' if has_other_form else ''}")
    return kept, tuple(dict.fromkeys(dropped))


def _is_allowed(name: str, value: str) -> bool:
    if name == "proxy-pac-url":
        return values.has_scheme(value, "http", "https", "data")
    plain = _ALLOWED_SWITCH.fullmatch(name) or _FEATURES.fullmatch(name)
    return bool(plain or (_TOGGLE.fullmatch(name) and not value))


def _read_switch(arg: str, field: str) -> tuple[str, str]:
    """Return name and value of a switch; the value is "" if it has none.

    ChromeDriver trims it and adds missing dashes; Chrome on Windows also accepts a slash instead of the
    dashes, and ignores the case.
    """
    name, _, value = arg.strip().lstrip("-/").partition("=")
    if values.has_control(arg) or not _SWITCH_NAME.fullmatch(name.rstrip()):
        raise forbidden(field, f"The argument {shown(arg)}", "it is not a Chrome switch")
    return name.rstrip().lower(), value


def _spell(name: str, value: str) -> str:
    return f"--{name}={value}" if value else f"--{name}"


def _refuse_ours(name: str, field: str) -> None:
    if name in _OUR_SWITCHES:
        raise forbidden(field, f"The switch --{name}", _OUR_SWITCHES[name])


def _join_features(first: str, second: str) -> str:
    names = [name.strip() for name in f"{first},{second}".split(",")]
    return ",".join(dict.fromkeys(name for name in names if name))


def _excluded_switches(value: object, field: str) -> object:
    names = [_read_switch(item, field)[0] for item in strings(value, field)]
    for name in names:
        _refuse_ours(name, field)
    return names


def _check_performance_log(cleaned: Mapping[str, object]) -> None:
    """Raise if `perfLoggingPrefs` is requested without the performance log: ChromeDriver would reject it."""
    options = mapping(cleaned.get(CHROME_OPTIONS, {}), CHROME_OPTIONS)
    logs = mapping(cleaned.get(LOGGING_PREFS, {}), LOGGING_PREFS)
    if "perfLoggingPrefs" in options and "performance" not in logs:
        needed = f'also needs {LOGGING_PREFS} with "performance"'
        raise invalid(f"capabilities.{CHROME_OPTIONS}.perfLoggingPrefs", needed)


def _timeout_ms(value: object, field: str) -> object:
    return value if value is None else values.whole_number(value, field)


def _prompt_behavior(value: object, field: str) -> object:
    answer = one_of("accept", "accept and notify", "dismiss", "dismiss and notify", "ignore")
    if not isinstance(value, dict):
        return answer(value, field)
    prompts = ("alert", "beforeUnload", "confirm", "default", "file", "prompt")
    return fields(dict.fromkeys(prompts, answer))(value, field)


def _proxy(value: object, field: str) -> object:
    proxy = mapping(_PROXY(value, field), field)
    if "proxyType" not in proxy:
        raise invalid(f"{field}.proxyType", "is missing")
    if proxy["proxyType"] == "pac" and "proxyAutoconfigUrl" not in proxy:
        raise invalid(f"{field}.proxyAutoconfigUrl", "is missing")
    return proxy


def _pac_url(value: object, field: str) -> object:
    if not values.has_scheme(values.text(value, field), "http", "https"):
        raise forbidden(field, "This proxyAutoconfigUrl", "it must be an http or https address")
    return value


def _no_proxy(value: object, field: str) -> object:
    # The standard requires a list; Selenium's Python client sends a string, which ChromeDriver accepts.
    return values.text(value, field) if isinstance(value, str) else strings(value, field)


_PROXY = fields(
    {
        "proxyType": one_of("pac", "direct", "autodetect", "system", "manual"),
        "autodetect": values.boolean,
        "proxyAutoconfigUrl": _pac_url,
        "noProxy": _no_proxy,
        "socksVersion": values.number,
        **dict.fromkeys(("ftpProxy", "httpProxy", "sslProxy", "socksProxy"), values.text),
    }
)
_CAPABILITIES: Mapping[str, Validator] = {
    "acceptInsecureCerts": values.boolean,
    "browserName": one_of("chrome", "chromium"),
    "browserVersion": values.text,
    "pageLoadStrategy": one_of("none", "eager", "normal"),
    "platformName": values.text,
    "proxy": _proxy,
    "setWindowRect": values.boolean,
    "strictFileInteractability": values.boolean,
    "timeouts": fields(dict.fromkeys(("script", "pageLoad", "implicit"), _timeout_ms)),
    "unhandledPromptBehavior": _prompt_behavior,
    "webSocketUrl": values.boolean,
    **_FOR_A_REMOTE_END,
    # Not in the standard, but ChromeDriver accepts perfLoggingPrefs only together with it.
    LOGGING_PREFS: values.each(one_of(*_LOG_LEVELS)),
}
_METRICS = {
    **dict.fromkeys(("width", "height", "pixelRatio"), values.number),
    **dict.fromkeys(("touch", "mobile"), values.boolean),
}
_MOBILE = {
    "deviceName": values.text,
    "userAgent": values.text,
    "deviceMetrics": fields(_METRICS),
    "clientHints": mapping,
}
_PERFORMANCE = {
    **dict.fromkeys(("enableNetwork", "enablePage"), values.boolean),
    "traceCategories": values.text,
    "bufferUsageReportingInterval": values.number,
}
_OPTIONS: Mapping[str, Validator] = {
    "excludeSwitches": _excluded_switches,
    "mobileEmulation": fields(_MOBILE),
    "perfLoggingPrefs": fields(_PERFORMANCE),
    "windowTypes": strings,
}
