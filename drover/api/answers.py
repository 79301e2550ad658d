"""Response models: what the routes return, and the schemas of OpenAPI, with the meaning of each field.

A model is filled by field name from the values that the service works with. A class has one HTTP status, and
its docstring says when it is returned. Here are the base classes, and what all routes have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from typing_extensions import Self

from drover.core import errors
from drover.core.errors import DroverError
from drover.core.logs import rfc3339

Timestamp = Annotated[
    datetime, PlainSerializer(rfc3339, return_type=str), Field(examples=["2026-11-22T19:40:00.123Z"])
]
"""A time in UTC, in RFC 3339 format."""
Pid = Annotated[int, Field(description="Process id", examples=[4711])]
SessionIdField = Annotated[str, Field(examples=["session_3f9c0a1b2c4d"])]


def error_codes() -> Iterator[str]:
    """Yield every `code` that a response may have, some more than once."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, DroverError):
            yield kind.code


class ApiModel(BaseModel):
    """Base of all response bodies."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        from_attributes=True,
        # Built at the first use: for all models it takes a tenth of the time of a start.
        defer_build=True,
    )
    status_code: ClassVar[int] = 200
    header_meanings: ClassVar[Mapping[str, str]] = {}

    def headers(self) -> dict[str, str]:
        """Return the headers of the response, which `header_meanings` describes."""
        return {}

    def json_object(self) -> dict[str, Any]:
        """Return the body; a field that was not set is absent."""
        return self.model_dump(mode="json", exclude_unset=True)

    def without_age(self) -> Self:
        """Return it without what changes with time alone; its `ETag` is of the rest."""
        return self

    @classmethod
    def filled(cls, source: object, **values: object) -> Self:
        """Return a model with these values, and with the attributes of `source` for all other fields."""
        rest = {name: getattr(source, name) for name in cls.model_fields if hasattr(source, name)}
        return cls.model_validate(rest | values)


class Success(ApiModel):
    """Base of the bodies of successful responses."""

    success: Literal[True] = Field(default=..., examples=[True])
    """Whether the request succeeded."""


class Failure(ApiModel):
    """The body of every failed request."""

    success: Literal[False] = Field(default=..., examples=[False])
    """Whether the request succeeded."""
    error: str = Field(examples=["field idle_timeout: Input should be a valid number"])
    """What happened and what to do about it, for people."""
    code: str = Field(json_schema_extra={"enum": [*sorted(set(error_codes()))]}, examples=["invalid_request"])
    """Error code, for programs."""
    details: dict[str, str] = Field(default={}, examples=[{"idle_timeout": "Input should be a valid number"}])
    """What is wrong with each field, by field name; present if fields or parameters are the cause."""


class W3cAnswer(ApiModel):
    """The response to every WebDriver command."""

    value: Any = Field(examples=[None])
    """Result of the command; if it failed, an object with `error`, `message` and `stacktrace`."""


class W3cError(ApiModel):
    """Why a WebDriver command failed."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(examples=["no such element"])
    """Error code of W3C WebDriver."""
    message: str = Field(examples=["no such element: Unable to locate element"])
    """What happened, for people."""
    stacktrace: str = Field(examples=[""])
    """Stack trace of ChromeDriver; empty if the error comes from the service."""


class W3cFailure(ApiModel):
    """The response to every WebDriver command that failed."""

    value: W3cError
    """The error; if it comes from the service, `data.code` is the error code of all other routes."""
