"""The form of a route's description in OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from openapi_pydantic import MediaType, Operation, Parameter, Response
from openapi_pydantic.util import PydanticSchema
from pydantic import BaseModel

from drover.api.answers import ApiModel, Failure, W3cFailure
from drover.api.descriptions import JSON, ResponseDescription, RouteDescription
from drover.core.errors import (
    DroverError,
    ForbiddenHost,
    ForbiddenOrigin,
    InvalidRequest,
    Overloaded,
    RequestTooLarge,
    Unauthorized,
    UnsupportedMediaType,
)

OF_ALL_ROUTES: tuple[type[DroverError], ...] = (
    InvalidRequest,
    Unauthorized,
    ForbiddenHost,
    ForbiddenOrigin,
    DroverError,
    Overloaded,
)
OF_ALL_BODIES: tuple[type[DroverError], ...] = (RequestTooLarge, UnsupportedMediaType)
_PATH_PARAMETERS = {
    "session_id": "Id of the session",
    "key": "Key of the sessions; percent-encoded",
    "target_id": "Id of the page in DevTools",
    "guid": "Identifier of the browser in Chrome's own address",
    "secret": "Random secret from the address that New Session returned",
    "command": "Rest of the command's path in W3C WebDriver, such as `url` or `element/…/click`",
}
_W3C_FAILURE = "An error, with the form and status of the W3C WebDriver specification."
_HEADER_EXAMPLES = {"Retry-After": "Seconds after which a retry may succeed"}


def operation(route: RouteDescription) -> Operation:
    """Return the OpenAPI operation of a route."""
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
    """Return the extension fields that the page needs and OpenAPI does not define."""
    confirm = {"x-confirm": route.confirm} if route.confirm is not None else {}
    return confirm | ({"x-stays-open": True} if route.stays_open else {})


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return an example of a model, built from its fields' examples; responses omit optional fields."""
    return {
        found.alias or name: _example(found.examples, found.annotation)
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


_COMPONENT = "#/components/schemas/{model}"
"""Where the document has the types that parameters share with the responses."""


def _operation_id(route: RouteDescription) -> str:
    words = [re.sub(r"\W+", "_", part).strip("_") for part in route.path.split("/")]
    return "_".join([route.method, *filter(None, words)])


def _parameters(route: RouteDescription) -> Iterator[Parameter]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield _parameter(name, "path", _PATH_PARAMETERS[name], {"type": "string"}, required=True)
    if route.query is not None:
        for name, schema in route.query.model_json_schema(ref_template=_COMPONENT)["properties"].items():
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
            headers["WWW-Authenticate"] = "How to send the token"
        yield str(status), _response(" ".join(meanings), models, reply, headers, errors)
    if route.speaks_w3c:
        yield "default", _response(_W3C_FAILURE, [W3cFailure], None, {}, [])


def _refusals(route: RouteDescription) -> dict[int, list[type[DroverError]]]:
    errors: tuple[type[DroverError], ...] = (*OF_ALL_ROUTES, *route.errors)
    if route.method in {"post", "put", "delete"}:
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
        content[JSON] = _media_type(models, errors)
    if reply is not None and reply.media_type is not None:
        # JSON bodies that come from Chrome itself have no schema here.
        content[reply.media_type] = {"schema": {} if reply.media_type == JSON else {"type": "string"}}
    return Response.model_validate(
        {
            "description": meaning,
            "content": content or None,
            "headers": {
                name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
            }
            or None,
        }
    )


def _body(model: type[BaseModel], short: Mapping[str, object] | None) -> MediaType:
    examples = {"short": {"value": dict(short)}} if short is not None else {}
    if model.model_fields:
        examples["whole"] = {"value": example_of(model)}
    return MediaType.model_validate({"schema": _schema(model), "examples": examples})


def _media_type(models: Sequence[type[BaseModel]], errors: Sequence[type[DroverError]]) -> MediaType:
    schemas = [_schema(model) for model in models]
    examples: dict[str, dict[str, object]] = {
        model.__name__: {"value": example_of(model)} for model in models if model is not Failure
    }
    for error in errors:
        body = {"success": False, "error": _first_line(error), "code": error.code}
        examples[error.__name__] = {"summary": error.code, "value": body}
    return MediaType.model_validate(
        {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, "examples": examples}
    )


def _schema(model: type[BaseModel]) -> PydanticSchema[BaseModel]:
    return PydanticSchema.model_validate({"schema_class": model})


def _first_line(error: type[DroverError]) -> str:
    if error is DroverError:
        return "Internal error; see the service log."
    return (error.__doc__ or "").partition("\n")[0]
