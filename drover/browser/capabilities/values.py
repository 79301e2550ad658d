"""Validators of JSON values from clients; every error names the field."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from drover.core.errors import ForbiddenCapability, InvalidRequest

Validator = Callable[[object, str], object]
"""Returns the validated value, or raises InvalidRequest; the second argument is the field's name."""

_DEEPEST = 32
_LONGEST_SHOWN = 100
_LARGEST_WHOLE = 2**53 - 1
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def invalid(field: str, problem: str) -> InvalidRequest:
    """Return the error for a field, `problem` as in "must be true or false"."""
    return InvalidRequest(f"{cut(field)} {problem}.", {cut(field): problem})


def cut(text: str) -> str:
    """Return a client's text, truncated for a message."""
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def forbidden(field: str, what: str, reason: str, *, fixed: bool = False) -> ForbiddenCapability:
    """Return the error for something that is refused.

    Args:
        field: The field that asks for it.
        what: It, as in "The switch --x".
        reason: Why, as a clause.
        fixed: Whether the service's operator cannot allow it either.
    """
    operator = "" if fixed else ", or start the service with DROVER_ALLOW_UNSAFE_CAPABILITIES=1"
    message = f"{what} is not allowed: {reason}. Leave it out{operator}."
    return ForbiddenCapability(message, {cut(field): f"{what} is not allowed"})


def shown(name: str) -> str:
    """Return a client's name for something, quoted, truncated and in ASCII, for a message."""
    return ascii(cut(name))


def plain_json(value: object, field: str, depth: int = 0) -> object:
    """Return a deep copy that contains only JSON types, so that what was checked is what is sent.

    Raises:
        InvalidRequest: It contains a number that is not finite, an unpaired surrogate, another type,
            or more than 32 levels.
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
    """Return whether a text contains a control character, such as NUL, a tab or a line break."""
    return _CONTROL.search(text) is not None


def mapping(value: object, field: str) -> dict[str, object]:
    """Return `value` if it is a JSON object."""
    if not isinstance(value, dict):
        raise invalid(field, "must be an object")
    return value


def strings(value: object, field: str) -> list[str]:
    """Return `value` if it is a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid(field, "must be a list of strings")
    return value


def text(value: object, field: str) -> str:
    """Return `value` if it is a non-empty string without control characters."""
    if not isinstance(value, str) or not value or has_control(value):
        raise invalid(field, "must be a non-empty string without control characters")
    return value


def boolean(value: object, field: str) -> bool:
    """Return `value` if it is true or false."""
    if not isinstance(value, bool):
        raise invalid(field, "must be true or false")
    return value


def number(value: object, field: str) -> float:
    """Return `value` if it is a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise invalid(field, "must be a number of 0 or more")
    return value


def whole_number(value: object, field: str) -> float:
    """Return `value` if it is a whole number of 0 or more that JSON represents exactly."""
    found = number(value, field)
    if found % 1 or found > _LARGEST_WHOLE:
        raise invalid(field, f"must be a whole number of at most {_LARGEST_WHOLE}")
    return found


def has_scheme(url: str, *schemes: str) -> bool:
    """Return whether a URL has one of these schemes, case-insensitively."""
    scheme, colon, _ = url.partition(":")
    return bool(colon) and scheme.lower() in schemes


def one_of(*choices: str) -> Validator:
    """Return a validator that accepts one of these strings."""

    def check(value: object, field: str) -> object:
        if value not in choices:
            raise invalid(field, f"must be one of: {', '.join(choices)}")
        return value

    return check


def each(item: Validator) -> Validator:
    """Return a validator that accepts an object with any field names, if all its values pass `item`."""

    def check(value: object, field: str) -> object:
        return {name: item(part, f"{field}.{name}") for name, part in mapping(value, field).items()}

    return check


def fields(checks: Mapping[str, Validator]) -> Validator:
    """Return a validator that accepts an object with these fields, all optional, and no others."""

    def check(value: object, field: str) -> object:
        parts = mapping(value, field)
        for name in parts:
            if name not in checks:
                raise invalid(f"{field}.{name}", f"is unknown; known fields: {', '.join(checks)}")
        return {name: checks[name](part, f"{field}.{name}") for name, part in parts.items()}

    return check


def _sound_text(value: object, field: str) -> str:
    # A search of the millions of characters of an extension would hold up the event loop for half a second.
    if not isinstance(value, str) or (not value.isascii() and _SURROGATE.search(value)):
        raise invalid(field, "must be valid Unicode text")
    return value
