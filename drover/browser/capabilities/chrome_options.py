"""`goog:chromeOptions`: what becomes of each of its parts."""

from __future__ import annotations

from collections.abc import Mapping

from drover.browser.capabilities.packed_extensions import PackedExtension, read_extensions
from drover.browser.capabilities.preferences import check_preferences
from drover.browser.capabilities.standard import CHROME_OPTIONS as VALIDATORS
from drover.browser.capabilities.switches import check_args, check_excluded
from drover.browser.capabilities.tables import CAPABILITIES, Ignored, set_aside_reason
from drover.browser.capabilities.values import cut, shown, strings

CHROME_OPTIONS = "goog:chromeOptions"

# Clients send these by default; empty or false, they have no effect.
_NOTHING_WHEN_EMPTY = frozenset(
    {
        "args",
        "binary",
        "detach",
        "excludeSwitches",
        "extensions",
        "localState",
        "mobileEmulation",
        "prefs",
        "useAutomationExtension",
        "windowTypes",
    }
)
_UNKNOWN = "ChromeDriver has no such option"


def check_options(
    options: Mapping[str, object], where: str, *, allow_unsafe: bool
) -> tuple[dict[str, object], tuple[PackedExtension, ...], list[Ignored]]:
    """Return what is passed on to ChromeDriver, the packed extensions, and what is set aside.

    Args:
        where: The name of the field, for errors.

    Raises:
        ForbiddenCapability: Something is refused; the message names it.
        InvalidRequest: A value has the wrong type or is out of range; `details` names the field.
    """
    kept: dict[str, object] = {}
    ignored: list[Ignored] = []
    extensions: tuple[PackedExtension, ...] = ()
    for name, value in options.items():
        inner = f"{where}.{name}"
        aside: list[Ignored] = []
        if name in _NOTHING_WHEN_EMPTY and value in _EMPTY:
            continue
        if name == "args":
            kept[name], aside = check_args(strings(value, inner), inner, allow_unsafe=allow_unsafe)
        elif name == "excludeSwitches":
            kept[name], aside = check_excluded(strings(value, inner))
        elif name == "prefs":
            kept[name], aside = check_preferences(value, inner, allow_unsafe=allow_unsafe)
        elif name == "extensions":
            extensions = read_extensions(value, inner)
        elif name in VALIDATORS:
            kept[name] = VALIDATORS[name](value, inner)
        else:
            row, what = CAPABILITIES.find(f"{CHROME_OPTIONS}.{name}"), f"The Chrome option {shown(name)}"
            reason = set_aside_reason(row, what, inner, _UNKNOWN, allow_unsafe=allow_unsafe)
            if reason is None:
                kept[name] = value
            else:
                aside = [Ignored(cut(name), reason)]
        ignored += aside
    # What is empty now asks for nothing.
    passed = {name: value for name, value in kept.items() if name not in _NOTHING_WHEN_EMPTY or value}
    return passed, extensions, ignored


_EMPTY: tuple[object, ...] = ("", False, [], {})
