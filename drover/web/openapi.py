"""All routes as one OpenAPI document, built from what is said of each beside its function."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from drover.api.answers import ApiModel, Failure, W3cFailure
from drover.api.descriptions import JSON, ResponseDescription, RouteDescription
from drover.api.service_answers import RETRY_AFTER
from drover.attach import (
    bidi_sockets,
    devtools_http,
    devtools_sockets,
    event_stream,
    live,
    view_sockets,
    webdriver,
)
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
from drover.core.version import VERSION
from drover.web import key_routes, pages, process_routes, service_routes, session_routes
from drover.web.field_descriptions import DescribedSchema

REST_ROUTES = (
    session_routes.routes,
    key_routes.routes,
    process_routes.routes,
    service_routes.routes,
    pages.routes,
)
DRIVER_ROUTES = (
    *webdriver.DESCRIPTIONS,
    *devtools_http.DESCRIPTIONS,
    *devtools_sockets.DESCRIPTIONS,
    *bidi_sockets.DESCRIPTIONS,
    *live.DESCRIPTIONS,
    *view_sockets.DESCRIPTIONS,
    *event_stream.DESCRIPTIONS,
)
ROUTES = (*(route for group in REST_ROUTES for route in group.described), *DRIVER_ROUTES)

_TAGS = {
    "Sessions": "Chrome sessions: get, check, lease, close.",
    "Keys": "What is kept for keys when their sessions end.",
    "Processes": "The ChromeDriver and Chrome processes on this machine.",
    "Service": "The service itself.",
    "Attach": "Endpoints for WebDriver, CDP and BiDi clients.",
    "Streams": "Connections that stay open.",
}
_DESCRIPTION = """Chrome sessions over HTTP, kept alive, with nothing left behind.

Times are in UTC in RFC 3339 format. Durations are in seconds, except fields whose name ends in `_ms`. A
failed request gets `success` false, a message in `error`, and a `code`. Every response has an `X-Request-ID`,
which its lines in the log name. Unknown fields and parameters are refused by name."""
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "DROVER_API_TOKEN, if it is set"},
    "basic": {"type": "http", "scheme": "basic", "description": "The token as password, with any user name"},
}
OF_ALL_ROUTES: tuple[type[DroverError], ...] = (
    InvalidRequest,
    Unauthorized,
    ForbiddenHost,
    ForbiddenOrigin,
    DroverError,
    Overloaded,
)
OF_ALL_BODIES: tuple[type[DroverError], ...] = (RequestTooLarge, UnsupportedMediaType)
COMPONENT = "#/components/schemas/{model}"
"""Where the document has the schema of a model."""
_PATH_PARAMETERS = {
    "session_id": "Id of the session",
    "key": "Key of the sessions; percent-encoded",
    "target_id": "Id of the page in DevTools",
    "guid": "Identifier of the browser in Chrome's own address",
    "secret": "Random secret from the address that New Session returned",
    "command": "Rest of the command's path in W3C WebDriver, such as `url` or `element/…/click`",
}
_W3C_FAILURE = "An error, with the form and status of the W3C WebDriver specification."


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; it contains no values of the settings."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    models = sorted({model for route in ROUTES for model in _models_of(route)}, key=lambda one: one.__name__)
    _, schemas = models_json_schema(
        [(one, "validation") for one in models], ref_template=COMPONENT, schema_generator=DescribedSchema
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Drover", "description": _DESCRIPTION, "version": VERSION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _without_nulls(schemas["$defs"]), "securitySchemes": _SECURITY_SCHEMES},
        "security": [{}, {"bearer": []}, {"basic": []}],
        "tags": [{"name": name, "description": meaning} for name, meaning in _TAGS.items()],
    }


def _operation(route: RouteDescription) -> dict[str, Any]:
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


def _models_of(route: RouteDescription) -> Iterator[type[BaseModel]]:
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


def _operation_id(route: RouteDescription) -> str:
    words = [re.sub(r"\W+", "_", part).strip("_") for part in route.path.split("/")]
    return "_".join([route.method, *filter(None, words)])


def _without_nulls(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema without `default: null`: a field without a value is absent."""
    if isinstance(schema, list):
        return [_without_nulls(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _without_nulls(part) for name, part in schema.items() if (name, part) != ("default", None)}


def _parameters(route: RouteDescription) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield _parameter(name, "path", _PATH_PARAMETERS[name], {"type": "string"}, required=True)
    if route.query is not None:
        whole = route.query.model_json_schema(ref_template=COMPONENT, schema_generator=DescribedSchema)
        for name, schema in _without_nulls(whole["properties"]).items():
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
