"""Chrome's switches: how an argument is read, and what becomes of it.

An argument is read as Chrome reads it on any system: one dash or two (or a slash), in any case, with or
without a value. It is passed on in one spelling, so that what was checked is what Chrome gets. Its value is
a value: it is passed on as it is, and nothing in it is ever read as another switch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from drover.browser.capabilities.tables import SWITCHES, Decision, Ignored, decide
from drover.browser.capabilities.values import cut, forbidden, has_scheme, shown
from drover.core.errors import StartRefused

LISTS = frozenset({"disable-features", "enable-features", "disable-blink-features", "enable-blink-features"})
"""Switches whose values are lists: several of one name are joined, as each would replace the one before."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NOT_A_SWITCH = "it is not a switch of Chrome"
_UNKNOWN = "it is not among the switches that Drover knows to be harmless"
_NUL = "its value contains NUL, which no argument of a program can"

# A session depends on them: ChromeDriver's own cannot be excluded, and the operator cannot set them.
_PROFILE_AND_PORT = ("user-data-dir", "remote-debugging-*", "remote-allow-origins", "crash-dumps-dir")
_NOT_EXCLUDABLE = (*_PROFILE_AND_PORT, "test-type", "log-path")
_NOT_THE_OPERATORS = (*_PROFILE_AND_PORT, "profile-directory", "type")
_EXCLUDED = "Drover recognizes or reaches the session's browser by it, so it stays"


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch with its value, which is "" if it has none."""

    name: str
    value: str = ""

    def __str__(self) -> str:
        return f"--{self.name}={self.value}" if self.value else f"--{self.name}"


def read_switch(argument: str) -> Switch | None:
    """Return the switch that an argument is, or None if it is something else, such as an address."""
    name, _, value = argument.partition("=")
    name = name.strip().lstrip("-/").rstrip()
    return Switch(name.lower(), value) if _NAME.fullmatch(name) else None


def check_args(
    arguments: Iterable[str], field: str, *, allow_unsafe: bool
) -> tuple[list[str], list[Ignored]]:
    """Return the arguments that are passed on to Chrome, in one spelling, and those that are set aside.

    Raises:
        ForbiddenCapability: A switch is refused; the message names it.
    """
    kept, ignored = [], []
    for argument in arguments:
        switch = read_switch(argument)
        if switch is None:
            ignored.append(Ignored(shown(argument), _NOT_A_SWITCH))
        elif "\x00" in switch.value:
            ignored.append(Ignored(cut(switch.name), _NUL))
        else:
            reason = _check(switch, field, allow_unsafe=allow_unsafe)
            if reason is None:
                kept.append(str(switch))
            else:
                ignored.append(Ignored(cut(switch.name), reason))
    return kept, ignored


def check_excluded(names: Iterable[str]) -> tuple[list[str], list[Ignored]]:
    """Return the names of ChromeDriver's own switches that it leaves out, and those that have to stay."""
    kept, ignored = [], []
    for name in names:
        switch = read_switch(name)
        if switch is None:
            ignored.append(Ignored(shown(name), _NOT_A_SWITCH))
        elif _matches(switch.name, _NOT_EXCLUDABLE):
            ignored.append(Ignored(f"excludeSwitches: {cut(switch.name)}", _EXCLUDED))
        else:
            kept.append(switch.name)
    return list(dict.fromkeys(kept)), ignored


def check_chrome_args(arguments: Sequence[str]) -> None:
    """Raise unless all the operator's switches for Chrome are ones that the service does not set itself.

    Raises:
        StartRefused: The message names DROVER_CHROME_ARGS and the switch.
    """
    for argument in arguments:
        switch = read_switch(argument)
        if switch is None or _matches(switch.name, _NOT_THE_OPERATORS):
            why = _NOT_A_SWITCH if switch is None else "Drover sets it itself"
            raise StartRefused(f"DROVER_CHROME_ARGS contains {shown(argument)}: {why}. Leave it out.")


def combined(arguments: Iterable[str]) -> dict[str, str]:
    """Return the values of switches by name: the last of each, and lists of features joined."""
    switches: dict[str, str] = {}
    for argument in arguments:
        switch = read_switch(argument)
        if switch is not None:
            joined = switch.name in LISTS and switch.name in switches
            switches[switch.name] = _join(switches[switch.name], switch.value) if joined else switch.value
    return switches


def _check(switch: Switch, field: str, *, allow_unsafe: bool) -> str | None:
    """Return why a switch is set aside, or None if it is passed on; raise if it is refused."""
    row = SWITCHES.find(switch.name)
    decision = decide(row, allow_unsafe=allow_unsafe)
    if row is None:
        return None if decision is Decision.ALLOW else _UNKNOWN
    what = f"The switch --{cut(switch.name)}"
    if decision is Decision.REFUSE:
        raise forbidden(field, what, f"it {row.why}", fixed=row.fixed)
    if decision is Decision.SET_ASIDE:
        return row.why
    problem = RULES[row.rule](switch.value) if row.rule and not allow_unsafe else None
    if problem is not None:
        raise forbidden(field, f"{what} with this value", problem)
    return None


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _join(first: str, second: str) -> str:
    return ",".join(dict.fromkeys(_listed(f"{first},{second}")))


def _listed(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


# Features that are a layer of the sandbox (sandbox/policy/features.cc); those that give pages Chrome's
# internal interfaces (MojoJS), devices or sockets (isolated web apps), or take such a layer off.
_SANDBOX_FEATURE = re.compile(
    r"(?!Privacy).*(?:Sandbox|SandboxLPAC|AppContainer|LPAC|SyscallFilter|Landlock)|WinSbox.*"
    r"|NetworkServiceFileAllowlist|.*SpectreVariant2Mitigation"
)
_POWER_FEATURE = re.compile(
    r"MojoJS.*|IsolatedWebApp.*|DirectSockets.*|UnrestrictedUsb|.*PerfettoSystemTracing|ForceDisableSpectre.*"
)
_FEATURE_NAME = re.compile(r"[*\s]*([^<:\s]*)")


def _features_off(value: str) -> str | None:
    found = next(filter(_SANDBOX_FEATURE.fullmatch, _feature_names(value)), None)
    return None if found is None else f"the feature {shown(found)} is a layer of the sandbox"


def _features_on(value: str) -> str | None:
    found = next(filter(_POWER_FEATURE.fullmatch, _feature_names(value)), None)
    return None if found is None else f"the feature {shown(found)} gives pages more than a page may have"


def _feature_names(value: str) -> list[str]:
    """Return the names in a list such as `A,*B<Trial,C:parameter/value`."""
    return [found[1] for listed in _listed(value) if (found := _FEATURE_NAME.match(listed))]


# Flags of V8 that change limits or the language. V8 takes `_` for `-`, one dash or two, and `no` before a
# name; Chrome takes commas for spaces. Others write files (--prof, --log-*, --trace-*, --redirect-*) or
# loosen V8's own protection.
_V8_LIMIT = re.compile(
    r"(?:max|min|initial)-(?:old-space|semi-space|heap|young-space)-size|(?:max|initial)-heap-size"
    r"|semi-space-growth-factor|stack-size|expose-gc|gc-interval|gc-global|optimize-for-size|lite-mode|jitless"
    r"|(?:no-?)?(?:opt|lazy|sparkplug|maglev|turbofan|turboshaft|incremental-marking|flush-bytecode)"
    r"|(?:no-?)?(?:harmony|experimental-wasm|js)-[a-z0-9-]+|single-threaded(?:-gc)?|random-seed|always-sparkplug"
    r"|max-lazy|stress-compaction|use-strict|noexpose-wasm|no-expose-wasm|wasm-lazy-compilation"
)
_V8_FLAG = re.compile(r"--?([A-Za-z0-9_-]+)(?:=(-?[0-9.]+|true|false))?")
_NUMBER = re.compile(r"-?[0-9.]+")


def _v8_flags(value: str) -> str | None:
    for token in re.split(r"[\s,]+", value.strip("\"' ")):
        flag = _V8_FLAG.fullmatch(token.strip("\"'"))
        known = flag and _V8_LIMIT.fullmatch(flag[1].lower().replace("_", "-"))
        if token and not known and not _NUMBER.fullmatch(token):
            return f"{shown(token)} is not among the flags of V8 that Drover knows to be harmless"
    return None


def _web_address(value: str) -> str | None:
    return None if has_scheme(value.strip(), "http", "https", "data") else "it must be an address of the web"


def _address(value: str) -> str | None:
    if has_scheme(value.strip(), "http", "https", "data", "about"):
        return None
    return "it must be an address of the web"


RULES: Mapping[str, Callable[[str], str | None]] = {
    "features_off": _features_off,
    "features_on": _features_on,
    "v8_flags": _v8_flags,
    "web_address": _web_address,
    "address": _address,
}
"""Checks of values by their names in the table; each returns what is wrong, or None."""
