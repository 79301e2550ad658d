"""`goog:chromeOptions`: what becomes of each of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.browser.capabilities.packed_extensions import PackedExtension, read_extensions
from drover.browser.capabilities.preferences import check_preferences
from drover.browser.capabilities.standard import CHROME_OPTIONS as VALIDATORS
from drover.browser.capabilities.switches import check_args, check_excluded
from drover.browser.capabilities.tables import CAPABILITIES, Decision, Ignored, decide
from drover.browser.capabilities.values import cut, forbidden, shown, strings

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


@dataclass(frozen=True, slots=True)
class CheckedOptions:
    """Chrome's options after the check.

    Attributes:
        options: What is passed on to ChromeDriver.
        extensions: The packed extensions, which Drover unpacks and loads.
        ignored: What was set aside.
    """

    options: Mapping[str, object] = field(default_factory=dict)
    extensions: tuple[PackedExtension, ...] = ()
    ignored: tuple[Ignored, ...] = ()


def check_options(options: Mapping[str, object], where: str, *, allow_unsafe: bool) -> CheckedOptions:
    """Return what is passed on, and what is set aside.

    Args:
        options: The value of `goog:chromeOptions`.
        where: The name of the field, for errors.
        allow_unsafe: Whether the operator allows what is refused otherwise.

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
            reason = _check_other(name, inner, allow_unsafe=allow_unsafe)
            if reason is None:
                kept[name] = value
            else:
                aside = [Ignored(cut(name), reason)]
        ignored += aside
    # What is empty now asks for nothing.
    return CheckedOptions(
        {name: value for name, value in kept.items() if name not in _NOTHING_WHEN_EMPTY or value},
        extensions,
        tuple(ignored),
    )


_EMPTY: tuple[object, ...] = ("", False, [], {})


def _check_other(name: str, where: str, *, allow_unsafe: bool) -> str | None:
    """Return why an option is set aside, or None if it is passed on; raise if it is refused."""
    row = CAPABILITIES.find(f"{CHROME_OPTIONS}.{name}")
    decision = decide(row, allow_unsafe=allow_unsafe)
    if decision is Decision.ALLOW:
        return None
    if row is None:
        return _UNKNOWN
    if decision is Decision.REFUSE:
        raise forbidden(where, f"The Chrome option {shown(name)}", row.why, fixed=row.fixed)
    return row.why
