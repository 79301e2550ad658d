"""From what a client sent to validated values; a field that nobody knows is never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from drover.core.errors import InvalidRequest


class Strict(BaseModel):
    """Base of what clients may send: exact types, and no field beyond those named."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Nothing(Strict):
    """No fields at all."""


Model = TypeVar("Model", bound=Strict)


def validated(model: type[Model], values: Mapping[str, object], kind: str, *, strict: bool) -> Model:
    """Give values as a model; `kind` is what a client calls one of them.

    Raises:
        InvalidRequest: One is unknown or wrong; `details` names them all.
    """
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as error:
        details = {_path(e["loc"]): _explained(e["type"], e["msg"], kind) for e in error.errors()}
        told = "; ".join(f"{kind} {name}: {what}" for name, what in details.items())
        known = ", ".join(model.model_fields) or "none"
        raise InvalidRequest(f"{told} (known {kind}s: {known})", details) from error


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"


def _explained(kind_of_error: str, message: str, kind: str) -> str:
    if kind_of_error == "extra_forbidden":
        return f"there is no such {kind}"
    return message.removeprefix("Value error, ")
