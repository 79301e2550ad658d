"""The form of a route's description in OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from drover.api.answers import ApiModel, Failure, W3cFailure
from drover.api.descriptions import JSON, ResponseDescription, RouteDescription
from drover.api.service_answers import RETRY_AFTER
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
from drover.web.field_descriptions import DescribedSchema

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


def operation(route: RouteDescription) -> dict[str, Any]:
    """Return the OpenAPI operation of a route."""
    content: dict[str, Any] = {
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "operationId": _operation_id(route),
        "parameters": [*_parameters(route)],
    }
    if route.body is not None:
        required = any(found.is_required() for found in route.body.model_fields.values())
        content["requestBody"] = {"content": {JSON: _body(route.body, route.short)}, "required": required}
    content["responses"] = dict(_responses(route))
    if route.is_open:
        content["security"] = []
    return content | _extensions(route)


def models_of(route: RouteDescription) -> Iterator[type[BaseModel]]:
    """Yield the models that the operation of a route refers to."""
    yield from (Failure, W3cFailure)
    for reply in route.replies.values():
        yield from reply.models
    if route.body is not None:
        yield route.body


def _extensions(route: RouteDescription) -> dict[str, object]:
    """Return the fields that the page needs and OpenAPI does not define."""
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


COMPONENT = "#/components/schemas/{model}"
"""Where the document has the schema of a model."""


def _operation_id(route: RouteDescription) -> str:
    words = [re.sub(r"\W+", "_", part).strip("_") for part in route.path.split("/")]
    return "_".join([route.method, *filter(None, words)])


def without_nulls(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema without `default: null`: a field without a value is absent."""
    if isinstance(schema, list):
        return [without_nulls(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: without_nulls(part) for name, part in schema.items() if (name, part) != ("default", None)}


def _parameters(route: RouteDescription) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield _parameter(name, "path", _PATH_PARAMETERS[name], {"type": "string"}, required=True)
    if route.query is not None:
        whole = route.query.model_json_schema(ref_template=COMPONENT, schema_generator=DescribedSchema)
        for name, schema in without_nulls(whole["properties"]).items():
            yield _parameter(name, "query", schema.pop("description"), schema)
    for name, meaning in route.headers:
        yield _parameter(name, "header", meaning, {"type": "string"})


def _parameter(
    name: str, place: str, meaning: str, schema: dict[str, Any], *, required: bool = False
) -> dict[str, Any]:
    return {"description": meaning, "required": required, "schema": schema, "name": name, "in": place}


def _responses(route: RouteDescription) -> Iterator[tuple[str, dict[str, Any]]]:
    refusals = _refusals(route)
    for status in sorted({*route.replies, *refusals}):
        reply, errors = route.replies.get(status), refusals.get(status, [])
        meanings = [reply.meaning] if reply else []
        meanings += [f"`{error.code}`: {_first_line(error)}" for error in errors]
        models: list[type[BaseModel]] = [*reply.models] if reply else []
        models += [Failure] if errors else []
        headers = dict(reply.headers) if reply else {}
        if any(error.retry_after_s is not None for error in errors):
            headers["Retry-After"] = RETRY_AFTER
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
) -> dict[str, Any]:
    response: dict[str, Any] = {"description": meaning}
    if headers:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
        }
    content: dict[str, Any] = {JSON: _media_type(models, errors)} if models else {}
    if reply is not None and reply.media_type is not None:
        # JSON bodies that come from Chrome itself have no schema here.
        content[reply.media_type] = {"schema": {} if reply.media_type == JSON else {"type": "string"}}
    return response | ({"content": content} if content else {})


def _body(model: type[BaseModel], short: Mapping[str, object] | None) -> dict[str, Any]:
    examples = {"short": {"value": dict(short)}} if short is not None else {}
    if model.model_fields:
        examples["whole"] = {"value": example_of(model)}
    return {"schema": _reference(model), "examples": examples}


def _media_type(models: Sequence[type[BaseModel]], errors: Sequence[type[DroverError]]) -> dict[str, Any]:
    schemas = [_reference(model) for model in models]
    examples: dict[str, dict[str, object]] = {
        model.__name__: {"value": example_of(model)} for model in models if model is not Failure
    }
    for error in errors:
        body = {"success": False, "error": _first_line(error), "code": error.code}
        examples[error.__name__] = {"summary": error.code, "value": body}
    return {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, "examples": examples}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": COMPONENT.format(model=model.__name__)}


def _first_line(error: type[DroverError]) -> str:
    if error is DroverError:
        return "Internal error; see the service log."
    return (error.__doc__ or "").partition("\n")[0]
