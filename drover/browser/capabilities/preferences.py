"""Chrome's preferences: a client may set any that names no file, starts no program and loads no code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from drover.browser.capabilities.tables import PREFERENCES, Decision, Ignored, decide
from drover.browser.capabilities.values import cut, forbidden, has_scheme, mapping, shown

_NAMES_A_PATH = "it names a file, a folder or a program"
_PATH = re.compile(
    r"""(?:^|["'\s,;|])(?:[/~\\]|\.{1,2}[/\\]|[a-z]:[/\\]|%\w+%)|(?<![a-z])file(?:system)?:""",
    re.IGNORECASE,
)
_PATH_WORD = re.compile(
    r"(?<![a-z])(?:binary|command|dir|director(?:y|ies)|exec|executable|file(?:name|s)?|folders?|library"
    r"|paths?|programs?)(?![a-z])"
)


def check_preferences(
    value: object, field: str, *, allow_unsafe: bool
) -> tuple[dict[str, object], list[Ignored]]:
    """Return the preferences that are passed on, and those that are set aside.

    Raises:
        ForbiddenCapability: A preference is refused; the message names it.
        InvalidRequest: `value` is not an object.
    """
    ignored: dict[str, Ignored] = {}
    kept = _kept(mapping(value, field), "", field, ignored, allow_unsafe=allow_unsafe)
    return kept, list(ignored.values())


def preference_names(preferences: Mapping[str, object]) -> set[str]:
    """Return the dotted names of all preferences, as Chrome joins them from the levels above."""
    return {name for name, _ in _leaves(preferences, "")}


def _kept(
    level: Mapping[str, object],
    above: str,
    field: str,
    ignored: dict[str, Ignored],
    *,
    allow_unsafe: bool,
) -> dict[str, object]:
    """Return one level without what is set aside, which is added to `ignored`; a level left empty goes."""
    kept: dict[str, object] = {}
    for key, value in level.items():
        name = f"{above}.{key}" if above else key
        if isinstance(value, dict) and value:
            inner = _kept(value, name, field, ignored, allow_unsafe=allow_unsafe)
            if inner:
                kept[key] = inner
            continue
        reason = _check(name, value, field, allow_unsafe=allow_unsafe)
        if reason is None:
            kept[key] = value
        else:
            ignored[name] = Ignored(cut(name), reason)
    return kept


def _check(name: str, value: object, field: str, *, allow_unsafe: bool) -> str | None:
    """Return why a preference is set aside, or None if it is passed on; raise if it is refused."""
    for leaf_name, leaf in (*_leaves(value, name), (name, None)):
        row = PREFERENCES.find_above(leaf_name)
        decision = Decision.ALLOW if row is None else decide(row, allow_unsafe=allow_unsafe)
        what = f"The preference {shown(leaf_name)}"
        if row is not None and decision is Decision.REFUSE:
            raise forbidden(field, what, f"it {row.why}", fixed=row.fixed)
        if row is not None and decision is Decision.SET_ASIDE:
            return row.why
        if allow_unsafe:
            continue
        problem = RULES[row.rule](leaf) if row is not None and row.rule and leaf is not None else None
        if problem is not None:
            raise forbidden(field, f"{what} with this value", problem)
        if _names_path(leaf_name, leaf):
            return _NAMES_A_PATH
    return None


def _leaves(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Yield every value below, with its dotted name; the items of a list have the list's name."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, name)
    else:
        yield name, value


def _names_path(name: str, value: object) -> bool:
    if _PATH.search(name.replace(".", " ")):
        return True
    if not isinstance(value, str):
        return False
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return bool(_PATH_WORD.search(words) or _PATH.search(value))


def _web_address(value: object) -> str | None:
    if isinstance(value, str) and (not value or has_scheme(value.strip(), "http", "https", "data")):
        return None
    return "it must be an address of the web"


def _only_true(value: object) -> str | None:
    return None if value is True else "only true is"


RULES: Mapping[str, Callable[[object], str | None]] = {"web_address": _web_address, "only_true": _only_true}
"""Checks of values by their names in the table; each returns what is wrong, or None."""
