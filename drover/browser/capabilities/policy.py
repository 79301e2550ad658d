"""The capability policy: what becomes of everything that a client asks of its browser.

Three classes, decided by name (`tables.py`): what is known to be harmless is passed on; what Drover decides
itself, and what is unknown, is set aside and named in the answer; what would run a program, read or write
a file of the service's user, open a port or weaken Chrome's sandbox is refused. So real scripts run
unchanged, and nothing that nobody has classified ever reaches Chrome.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from drover.browser.capabilities import standard, values
from drover.browser.capabilities.chrome_options import CHROME_OPTIONS, check_options
from drover.browser.capabilities.packed_extensions import PackedExtension
from drover.browser.capabilities.standard import LOGGING_PREFS, timeouts_of
from drover.browser.capabilities.tables import CAPABILITIES, Ignored, set_aside_reason
from drover.browser.capabilities.values import cut, invalid, mapping, shown
from drover.core.errors import SessionNotCreated

NODE = "drover:node"
_OURS = "drover:"
MAX_IGNORED = 100
"""Entries in the list of what was set aside; the last one says how many more there are."""

_PLATFORMS = {"win32": "windows", "darwin": "mac"}
PLATFORM = _PLATFORMS.get(sys.platform, sys.platform)

_MATCHED = ("browserName", "platformName", NODE)
_BROWSERS = frozenset({"chrome", "chromium"})
_ANY = frozenset({"", "any", "*"})
# Names of platforms as clients spell them (selenium/common/Platform), by what they begin with.
_PLATFORM_NAMES = {
    "linux": ("linux", "unix"),
    "windows": ("win", "vista", "xp"),
    "mac": ("mac", "os x", "osx", "darwin"),
}
_UNKNOWN_VENDOR = "Drover does not know this vendor's capability"
# Every session has these anyway, and ChromeDriver rejects a request for setWindowRect.
_SATISFIED = frozenset({"setWindowRect", "se:downloadsEnabled"})

_IN_MEMORY = frozenset({"--incognito", "--guest", "--bwsi"})


@dataclass(frozen=True, slots=True)
class CheckedCapabilities:
    """Capabilities that passed the policy.

    Attributes:
        capabilities: What is passed on: a validated deep copy, switches in one spelling.
        ignored: What was set aside.
        extensions: Packed extensions that are yet to be unpacked into the session's folder.
    """

    capabilities: Mapping[str, object]
    ignored: tuple[Ignored, ...] = ()
    extensions: tuple[PackedExtension, ...] = ()

    @property
    def is_default(self) -> bool:
        """Whether nothing is asked for that not every browser has, so that any serves."""
        return self.capabilities.items() <= standard.DEFAULTS.items() and not self.extensions

    @property
    def wants_bidi(self) -> bool:
        """Whether a BiDi WebSocket is requested."""
        return self.capabilities.get("webSocketUrl") is True

    @property
    def keeps_profile_in_memory(self) -> bool:
        """Whether Chrome writes nothing of the profile to disk and shows DevTools another one."""
        options = self.capabilities.get(CHROME_OPTIONS)
        arguments = options.get("args", ()) if isinstance(options, Mapping) else ()
        return any(argument.partition("=")[0] in _IN_MEMORY for argument in arguments)

    def with_timeouts(self, timeouts: Mapping[str, object]) -> CheckedCapabilities:
        """Return a copy with some of the session's timeouts (in ms) changed; unknown fields are dropped."""
        known = mapping(self.capabilities.get("timeouts", {}), "timeouts")
        changed = {**known, **timeouts_of(timeouts)}
        return replace(self, capabilities={**self.capabilities, "timeouts": changed}) if changed else self

    def also_ignoring(self, ignored: Iterable[Ignored]) -> CheckedCapabilities:
        """Return a copy with more that was set aside, without packed extensions: they are unpacked."""
        return replace(self, ignored=_bounded((*self.ignored, *ignored)), extensions=())


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides about capabilities.

    Attributes:
        allow_unsafe: Whether what is refused or unknown is passed on; what would break Drover's own promises
            is not passed on nevertheless.
        node_label: The label that `drover:node` has to name.
        platform: The platform that `platformName` has to name.
    """

    allow_unsafe: bool = False
    node_label: str | None = None
    platform: str = PLATFORM

    def check(self, capabilities: Mapping[str, object]) -> CheckedCapabilities:
        """Return the capabilities that a client asks for, as in `alwaysMatch`, after the checks.

        Raises:
            ForbiddenCapability: Something is refused; the message names it.
            SessionNotCreated: They ask for another browser, platform or node.
            InvalidRequest: A value has the wrong type or is out of range; `details` names the field.
        """
        kept: dict[str, object] = {}
        ignored: list[Ignored] = []
        extensions: tuple[PackedExtension, ...] = ()
        asked = mapping(values.plain_json(capabilities, "capabilities"), "capabilities")
        self._match(asked)
        for name, value in asked.items():
            where = f"capabilities.{name}"
            if value is None or name in _MATCHED:  # by the standard null means absent
                continue
            if name == CHROME_OPTIONS:
                options, extensions, aside = check_options(
                    mapping(value, where), where, allow_unsafe=self.allow_unsafe
                )
                ignored += aside
                if options:
                    kept[name] = options
            elif name in standard.CAPABILITIES:
                # An empty text asks for nothing; ChromeDriver would reject it.
                if value != "":
                    kept[name] = standard.CAPABILITIES[name](value, where)
            else:
                reason = self._check_other(name, where)
                if reason is None:
                    kept[name] = value
                else:
                    ignored.append(Ignored(cut(name), reason))
        _check_performance_log(kept)
        passed = {name: value for name, value in kept.items() if name not in _SATISFIED}
        return CheckedCapabilities(passed, _bounded(ignored), extensions)

    def _match(self, asked: Mapping[str, object]) -> None:
        """Raise if the capabilities ask for another browser, platform or node."""
        browser, platform, node = (_text(asked.get(name), f"capabilities.{name}") for name in _MATCHED)
        if browser.strip().lower() not in _BROWSERS | _ANY:
            raise _no_match("browserName", f"{shown(browser)}, and this service has Chrome")
        names = _PLATFORM_NAMES.get(self.platform, (self.platform,))
        if platform.strip().lower() not in _ANY and not platform.strip().lower().startswith(names):
            raise _no_match("platformName", f"{shown(platform)}, and this service runs on {self.platform}")
        if node and node != self.node_label:
            label = shown(self.node_label) if self.node_label else "not set"
            raise _no_match(NODE, f"{shown(node)}, and the label of this node (DROVER_NODE_LABEL) is {label}")

    def _check_other(self, name: str, where: str) -> str | None:
        """Return why a capability is set aside, or None if it is passed on; raise if it is refused."""
        row = CAPABILITIES.find(name)
        if name.startswith(_OURS):
            raise invalid(where, f"is not a capability here; Drover's own is {NODE}")
        if row is None and ":" not in name:
            raise invalid(where, "is not a capability; names of vendors contain a colon")
        what = f"The capability {shown(name)}"
        return set_aside_reason(row, what, where, _UNKNOWN_VENDOR, allow_unsafe=self.allow_unsafe)


def _text(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(where, "must be a string")
    return value


def _no_match(name: str, difference: str) -> SessionNotCreated:
    return SessionNotCreated(
        f"The capability {name} is {difference}. Change it, or leave it out.",
        {f"capabilities.{name}": "does not match"},
    )


def _bounded(ignored: Iterable[Ignored]) -> tuple[Ignored, ...]:
    """Return the entries, each once; of too many the first, and how many more there are."""
    each = tuple(dict.fromkeys(ignored))
    if len(each) <= MAX_IGNORED:
        return each
    shown_ones = each[: MAX_IGNORED - 1]
    return (*shown_ones, Ignored("...", f"{len(each) - len(shown_ones)} more were set aside"))


def _check_performance_log(kept: Mapping[str, object]) -> None:
    """Raise if `perfLoggingPrefs` is requested without the performance log: ChromeDriver would reject it."""
    options = mapping(kept.get(CHROME_OPTIONS, {}), CHROME_OPTIONS)
    logs = mapping(kept.get(LOGGING_PREFS, {}), LOGGING_PREFS)
    if "perfLoggingPrefs" in options and "performance" not in logs:
        needed = f'also needs {LOGGING_PREFS} with "performance"'
        raise invalid(f"capabilities.{CHROME_OPTIONS}.perfLoggingPrefs", needed)
