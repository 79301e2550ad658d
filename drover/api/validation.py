"""Validation of what clients send; unknown fields are refused, never ignored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from drover.core.errors import InvalidRequest


class Strict(BaseModel):
    """Base of request models: exact types, no unknown fields."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,
    )


class Nothing(Strict):
    """A request without any fields."""


Model = TypeVar("Model", bound=Strict)


def validated(model: type[Model], values: Mapping[str, object], kind: str, *, strict: bool) -> Model:
    """Return values as a model.

    Args:
        kind: What messages call one value, such as `field` or `parameter`.
        strict: Whether values must have the exact type; query parameters arrive as text.

    Raises:
        InvalidRequest: A value is unknown or invalid; `details` names each one.
    """
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as error:
        raise explained(error, kind, tuple(model.model_fields)) from error


def validated_query(model: type[Model], parameters: Iterable[tuple[str, str]]) -> Model:
    """Return query parameters, as names and values, as a model.

    A misspelt parameter is refused, not ignored: `?dry_rum=true` must not clean up.

    Raises:
        InvalidRequest: A parameter is unknown, repeated or invalid.
    """
    values: dict[str, str] = {}
    for name, value in parameters:
        if name in values:
            raise InvalidRequest(f"The parameter {name} is repeated. Send it once.")
        values[name] = value
    return validated(model, values, "parameter", strict=False)


def explained(error: ValidationError, kind: str, known: Iterable[str] | None = None) -> InvalidRequest:
    """Return the error for a client whose values are invalid; `details` names each one.

    Args:
        kind: What messages call one value, such as `field` or `parameter`.
        known: The names that the message offers; None offers none.
    """
    details = {_path(e["loc"]): _explained(e["type"], e["msg"], kind) for e in error.errors()}
    problems = "; ".join(f"{kind} {name}: {problem}" for name, problem in details.items())
    offered = "" if known is None else f" (known {kind}s: {', '.join(known) or 'none'})"
    return InvalidRequest(problems + offered, details)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"


def _explained(kind_of_error: str, message: str, kind: str) -> str:
    if kind_of_error == "extra_forbidden":
        return f"unknown {kind}"
    return message.removeprefix("Value error, ")
