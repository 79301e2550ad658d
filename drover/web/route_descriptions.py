"""What a route of the contract consists of, and how that reads in OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from openapi_pydantic import MediaType, Operation, Parameter, Response
from openapi_pydantic.util import PydanticSchema
from pydantic import BaseModel

from drover.api.answers import ApiModel, Failure, W3cFailure
from drover.api.validation import Strict
from drover.core.errors import (
    DroverError,
    ForbiddenHost,
    ForbiddenOrigin,
    InvalidRequest,
    RequestTooLarge,
    Unauthorized,
    UnsupportedMediaType,
)

JSON = "application/json"
OF_ALL_ROUTES: tuple[type[DroverError], ...] = (
    InvalidRequest,
    Unauthorized,
    ForbiddenHost,
    ForbiddenOrigin,
    DroverError,
)
OF_ALL_BODIES: tuple[type[DroverError], ...] = (RequestTooLarge, UnsupportedMediaType)
_PATH_PARAMETERS = {
    "session_id": "The session's id",
    "target_id": "The page's id in DevTools",
    "secret": "What nobody can guess",
    "command": "The rest of the command's path as W3C WebDriver has it, such as `url` or `element/…/click`",
}
_W3C_FAILURE = "The error of W3C WebDriver, with the status that the standard has for it."
_HEADER_EXAMPLES = {"Retry-After": "Seconds after which asking again may help"}


@dataclass(frozen=True)
class ResponseDescription:
    """An answer that a route may give.

    Attributes:
        meaning: When it is given, in words.
        models: What its JSON body may be; none where it is no JSON.
        media_type: Its type, where it is no JSON; None where it has no body.
        headers: What comes with it, by name, with its meaning.
        example: What its example has other than the examples of the fields.
    """

    meaning: str
    models: tuple[type[BaseModel], ...] = ()
    media_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    example: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class RouteDescription:
    """One route of the contract.

    Attributes:
        path: As OpenAPI writes it, with `{names}`.
        tag: The group that it is shown in.
        replies: What it answers, by status; failures are in `errors`.
        errors: What it may refuse with, beyond what every route may.
        body: What may be sent as JSON.
        short: The least that is worth sending as a body; the page starts with it.
        query: What may stand behind the `?`.
        headers: What may be sent as headers, by name, with its meaning.
        confirm: What has to be confirmed before it is tried on the page; None where nothing is lost.
        stays_open: It is a stream or a WebSocket.
        speaks_w3c: Its failures are those of W3C WebDriver.
        is_open: It needs no token.
    """

    method: str
    path: str
    tag: str
    summary: str
    description: str
    replies: Mapping[int, ResponseDescription]
    errors: tuple[type[DroverError], ...] = ()
    body: type[BaseModel] | None = None
    short: Mapping[str, object] | None = None
    query: type[Strict] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    confirm: str | None = None
    stays_open: bool = False
    speaks_w3c: bool = False
    is_open: bool = False


def operation(route: RouteDescription) -> Operation:
    """Give a route as OpenAPI has it."""
    content: dict[str, Any] = {
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "operationId": _operation_id(route),
        "parameters": [*_parameters(route)],
        "responses": dict(_responses(route)),
    }
    if route.body is not None:
        content["requestBody"] = {
            "content": {JSON: _body(route.body, route.short)},
            "required": any(found.is_required() for found in route.body.model_fields.values()),
        }
    if route.is_open:
        content["security"] = []
    return Operation.model_validate(content)


def extensions(route: RouteDescription) -> dict[str, object]:
    """Give what the page needs to know of a route and OpenAPI has no word for."""
    confirm = {"x-confirm": route.confirm} if route.confirm is not None else {}
    return confirm | ({"x-stays-open": True} if route.stays_open else {})


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """Give an example of a model, made of those of its fields; an answer's has what is always there."""
    return {
        name: _example(found.examples, found.annotation)
        for name, found in model.model_fields.items()
        if found.is_required() or not issubclass(model, ApiModel)
    }


def _example(examples: Sequence[Any] | None, annotation: Any) -> Any:  # noqa: ANN401 - types are values here
    if examples:
        return examples[0]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType}:
        return _example(None, parts[0])
    if origin is list:
        return [_example(None, parts[0])]
    if origin is Annotated:
        return _example(parts[-1].examples, parts[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return example_of(annotation)
    raise AssertionError(f"{annotation} needs an example")


def _operation_id(route: RouteDescription) -> str:
    words = [re.sub(r"\W+", "_", part).strip("_") for part in route.path.split("/")]
    return "_".join([route.method, *filter(None, words)])


def _parameters(route: RouteDescription) -> Iterator[Parameter]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield _parameter(name, "path", _PATH_PARAMETERS[name], {"type": "string"}, required=True)
    if route.query is not None:
        for name, schema in route.query.model_json_schema()["properties"].items():
            yield _parameter(name, "query", schema.pop("description"), schema)
    for name, meaning in route.headers:
        yield _parameter(name, "header", meaning, {"type": "string"})


def _parameter(
    name: str, place: str, meaning: str, schema: dict[str, Any], *, required: bool = False
) -> Parameter:
    return Parameter.model_validate(
        {"name": name, "in": place, "description": meaning, "required": required, "schema": schema}
    )


def _responses(route: RouteDescription) -> Iterator[tuple[str, Response]]:
    refusals = _refusals(route)
    for status in sorted({*route.replies, *refusals}):
        reply, errors = route.replies.get(status), refusals.get(status, [])
        meanings = [reply.meaning] if reply else []
        meanings += [f"`{error.code}`: {_first_line(error)}" for error in errors]
        models: list[type[BaseModel]] = [*reply.models] if reply else []
        models += [Failure] if errors else []
        headers = dict(reply.headers) if reply else {}
        if any(error.retry_after_s is not None for error in errors):
            headers["Retry-After"] = _HEADER_EXAMPLES["Retry-After"]
        if Unauthorized in errors:
            headers["WWW-Authenticate"] = "How to show the token"
        yield str(status), _response(" ".join(meanings), models, reply, headers, errors)
    if route.speaks_w3c:
        yield "default", _response(_W3C_FAILURE, [W3cFailure], None, {}, [])


def _refusals(route: RouteDescription) -> dict[int, list[type[DroverError]]]:
    errors: tuple[type[DroverError], ...] = (*OF_ALL_ROUTES, *route.errors)
    if route.method in {"post", "delete"}:
        errors += OF_ALL_BODIES
    refusals: dict[int, list[type[DroverError]]] = {}
    for error in errors if not route.speaks_w3c else ():
        if not (route.is_open and error is Unauthorized):
            refusals.setdefault(error.status, []).append(error)
    return refusals


def _response(
    meaning: str,
    models: Sequence[type[BaseModel]],
    reply: ResponseDescription | None,
    headers: Mapping[str, str],
    errors: Sequence[type[DroverError]],
) -> Response:
    content: dict[str, Any] = {}
    if models:
        content[JSON] = _media_type(models, reply.example if reply else {}, errors)
    if reply is not None and reply.media_type is not None:
        # What Chrome answers in JSON is Chrome's to describe.
        content[reply.media_type] = {"schema": {} if reply.media_type == JSON else {"type": "string"}}
    return Response.model_validate(
        {
            "description": meaning,
            "content": content or None,
            "headers": {
                name: {"description": told, "schema": {"type": "string"}} for name, told in headers.items()
            }
            or None,
        }
    )


def _body(model: type[BaseModel], short: Mapping[str, object] | None) -> MediaType:
    examples = {"short": {"value": dict(short)}} if short is not None else {}
    if model.model_fields:
        examples["whole"] = {"value": example_of(model)}
    return MediaType.model_validate({"schema": _schema(model), "examples": examples})


def _media_type(
    models: Sequence[type[BaseModel]], example: Mapping[str, object], errors: Sequence[type[DroverError]]
) -> MediaType:
    schemas = [_schema(model) for model in models]
    examples: dict[str, dict[str, object]] = {
        model.__name__: {"value": example_of(model) | dict(example)}
        for model in models
        if model is not Failure
    }
    for error in errors:
        told = {"success": False, "error": _first_line(error), "code": error.code}
        examples[error.__name__] = {"summary": error.code, "value": told}
    return MediaType.model_validate(
        {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, "examples": examples}
    )


def _schema(model: type[BaseModel]) -> PydanticSchema[BaseModel]:
    return PydanticSchema.model_validate({"schema_class": model})


def _first_line(error: type[DroverError]) -> str:
    if error is DroverError:
        return "Something unexpected went wrong; the service's log tells what."
    return (error.__doc__ or "").partition("\n")[0]
