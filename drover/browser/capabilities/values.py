"""Checks of JSON values that come from outside, each of which names the field at fault."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from drover.core.errors import ForbiddenCapability, InvalidRequest

Validator = Callable[[object, str], object]
"""Gives a value back, cleaned, or raises InvalidRequest; the text is the field's name, for the error."""

_DEEPEST = 32
_LONGEST_SHOWN = 100
_LARGEST_WHOLE = 2**53 - 1
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def invalid(field: str, problem: str) -> InvalidRequest:
    """Give the error for a field, `problem` as in "must be true or false"."""
    return InvalidRequest(f"{cut(field)} {problem}.", {cut(field): problem})


def cut(text: str) -> str:
    """Give a text that a client chose, short enough for a message."""
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def forbidden(field: str, what: str, reason: str | None = None) -> ForbiddenCapability:
    """Give the error for something that is not allowed, `what` as in "The switch --x"; with what to do."""
    advice = "leave it out, or start the service with DROVER_ALLOW_UNSAFE_CAPABILITIES=1"
    if reason is not None:
        advice = f"{reason}; leave it out"
    return ForbiddenCapability(f"{what} is not allowed: {advice}.", {cut(field): f"{what} is not allowed"})


def shown(name: str) -> str:
    """Give a name that a client chose, short and in ASCII, as it stands in a message."""
    return ascii(cut(name))


def plain_json(value: object, field: str, depth: int = 0) -> object:
    """Give a deep copy that is JSON and nothing else, so that what was checked is what is sent.

    Numbers without a finite value, halves of surrogate pairs and what is nested deeper than 32
    levels are refused.
    """
    if isinstance(value, str):
        return _sound_text(value, field)
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth >= _DEEPEST:
        raise invalid(field, f"must not be nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        pairs = [(_sound_text(key, field), part) for key, part in value.items()]
        return {key: plain_json(part, f"{field}.{key}", depth + 1) for key, part in pairs}
    if isinstance(value, (list, tuple)):
        return [plain_json(part, field, depth + 1) for part in value]
    raise invalid(field, "must be a JSON value")


def has_control(text: str) -> bool:
    """Tell whether a text holds a control character, such as NUL, a tab or the end of a line."""
    return _CONTROL.search(text) is not None


def mapping(value: object, field: str) -> dict[str, object]:
    """Give `value` if it is a JSON object."""
    if not isinstance(value, dict):
        raise invalid(field, "must be an object")
    return value


def strings(value: object, field: str) -> list[str]:
    """Give `value` if it is a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid(field, "must be a list of strings")
    return value


def text(value: object, field: str) -> str:
    """Give `value` if it is a string that says something, on one line."""
    if not isinstance(value, str) or not value or has_control(value):
        raise invalid(field, "must be a text, not empty and without control characters")
    return value


def boolean(value: object, field: str) -> bool:
    """Give `value` if it is true or false."""
    if not isinstance(value, bool):
        raise invalid(field, "must be true or false")
    return value


def number(value: object, field: str) -> float:
    """Give `value` if it is a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise invalid(field, "must be a number of 0 or more")
    return value


def whole_number(value: object, field: str) -> float:
    """Give `value` if it is a whole number that JSON carries without loss."""
    if number(value, field) % 1 or number(value, field) > _LARGEST_WHOLE:
        raise invalid(field, f"must be a whole number of at most {_LARGEST_WHOLE}")
    return number(value, field)


def has_scheme(url: str, *schemes: str) -> bool:
    """Tell whether an address begins with one of these schemes, in any case."""
    scheme, colon, _ = url.partition(":")
    return bool(colon) and scheme.lower() in schemes


def one_of(*choices: str) -> Validator:
    """Make the check for one of these strings."""

    def check(value: object, field: str) -> object:
        if value not in choices:
            raise invalid(field, f"must be one of: {', '.join(choices)}")
        return value

    return check


def each(item: Validator) -> Validator:
    """Make the check for an object whose fields, whatever their names, all pass `item`."""

    def check(value: object, field: str) -> object:
        return {name: item(part, f"{field}.{name}") for name, part in mapping(value, field).items()}

    return check


def fields(checks: Mapping[str, Validator]) -> Validator:
    """Make the check for an object that has these fields and no others."""

    def check(value: object, field: str) -> object:
        parts = mapping(value, field)
        for name in parts:
            if name not in checks:
                raise invalid(f"{field}.{name}", f"is unknown; known are: {', '.join(checks)}")
        return {name: checks[name](part, f"{field}.{name}") for name, part in parts.items()}

    return check


def _sound_text(value: object, field: str) -> str:
    if not isinstance(value, str) or _SURROGATE.search(value):
        raise invalid(field, "must be valid Unicode text")
    return value
