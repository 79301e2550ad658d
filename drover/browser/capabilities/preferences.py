"""Validation of Chrome preferences: a client may set any that does not name a path or a program."""

from __future__ import annotations

import re
from collections.abc import Iterable

from drover.browser.capabilities.values import forbidden, mapping, shown

_PATH = re.compile(
    r"""(?:^|["'\s,;|])(?:[/~\\]|\.{1,2}[/\\]|[a-z]:[/\\]|%\w+%)|(?<![a-z])file(?:system)?:""",
    re.IGNORECASE,
)
_PATH_WORD = re.compile(
    r"(?<![a-z])(?:binary|command|dir|director(?:y|ies)|exec|executable|file(?:name|s)?|folders?|library"
    r"|paths?|programs?)(?![a-z])"
)
# With any value, these can start a program for what a page links to or downloads, or load code.
_PROGRAM_PREF = re.compile(
    r"(?:custom_handlers|download\.extensions_to_open(?:_by_policy)?|download\.open_pdf_in_system_reader"
    r"|extensions\.settings|protocol_handler)(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)


def check_preferences(value: object, field: str) -> dict[str, object]:
    """Return `value` if it is an object of preferences that refer to no file and no program.

    Raises:
        ForbiddenCapability: A preference refers to one; the message names the preference.
        InvalidRequest: `value` is not an object.
    """
    prefs = mapping(value, field)
    for name, leaf in _leaves(prefs):
        if _PROGRAM_PREF.fullmatch(name) or _names_path(name, leaf):
            raise forbidden(field, f"The preference {shown(name)}, which names a path or a program,")
    return prefs


def _leaves(value: object, name: str = "") -> Iterable[tuple[str, object]]:
    """Yield every value in the preferences, with its dotted name as Chrome joins it from the levels above."""
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
