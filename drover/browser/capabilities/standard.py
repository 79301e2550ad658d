"""The capabilities of the WebDriver standard and of ChromeDriver whose values Drover checks."""

from __future__ import annotations

from collections.abc import Mapping

from drover.browser.capabilities import values
from drover.browser.capabilities.values import Validator, fields, forbidden, invalid, mapping, one_of, strings

LOGGING_PREFS = "goog:loggingPrefs"
_LOG_LEVELS = ("ALL", "DEBUG", "FINE", "FINER", "FINEST", "INFO", "OFF", "SEVERE", "WARNING")
_TIMEOUTS = ("script", "pageLoad", "implicit")


def timeouts_of(value: Mapping[str, object]) -> dict[str, object]:
    """Return those fields of a timeouts object that the standard knows, if their values are valid.

    ChromeDriver answers a command with other fields (`{"type": "script", "ms": 1000}` of the JSON wire
    protocol) with success, but rejects them as capabilities.
    """
    return {name: value[name] for name in _TIMEOUTS if name in value and _is_timeout(value[name])}


def _is_timeout(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)


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
        raise forbidden(field, "This proxyAutoconfigUrl", "it must be an http or https address", fixed=True)
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

CAPABILITIES: Mapping[str, Validator] = {
    "acceptInsecureCerts": values.boolean,
    "browserVersion": values.text,
    "pageLoadStrategy": one_of("none", "eager", "normal"),
    "proxy": _proxy,
    "setWindowRect": values.boolean,
    "strictFileInteractability": values.boolean,
    "timeouts": fields(dict.fromkeys(_TIMEOUTS, _timeout_ms)),
    "unhandledPromptBehavior": _prompt_behavior,
    "webSocketUrl": values.boolean,
    "se:downloadsEnabled": values.boolean,
    # Not in the standard, but ChromeDriver accepts perfLoggingPrefs only together with it.
    LOGGING_PREFS: values.each(one_of(*_LOG_LEVELS)),
}
"""Capabilities by name, with the validator of each."""

DEFAULTS: Mapping[str, object] = {
    "acceptInsecureCerts": False,
    "pageLoadStrategy": "normal",
    "strictFileInteractability": False,
    "unhandledPromptBehavior": "dismiss and notify",
    "webSocketUrl": False,
}
"""What a session has without a request. Selenium's client for Python asks for a `pageLoadStrategy` always."""

CHROME_OPTIONS: Mapping[str, Validator] = {
    "enableExtensionTargets": values.boolean,
    "mobileEmulation": fields(_MOBILE),
    "perfLoggingPrefs": fields(_PERFORMANCE),
    "windowTypes": strings,
}
"""Options of Chrome that are passed on as they are, by name, with the validator of each."""
