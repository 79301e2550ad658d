"""Declaration of REST routes: the function of a route takes validated models and returns a model.

Everything else follows from its signature and docstring: how its body and query are validated, its status,
and what OpenAPI says of it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar, get_args, get_type_hints

from starlette.responses import Response

from drover.api.answers import ApiModel
from drover.api.descriptions import ResponseDescription, RouteDescription
from drover.api.validation import Model, Nothing, validated, validated_query
from drover.core.errors import DroverError, InvalidRequest
from drover.net.asgi import json_bytes
from drover.net.target import segment_text
from drover.web.calls import Call, answering

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class RestRoute:
    """A route.

    Attributes:
        described: What OpenAPI says of it.
        function: Returns a model, or a complete response; takes `query` and `body` if they are described.
        has_tag: Whether the response has an `ETag`, and is 304 if the client has the same.
        is_listed: Whether it is in the OpenAPI document.
    """

    described: RouteDescription
    function: Callable[..., object]
    has_tag: bool
    is_listed: bool

    def answer(self, call: Call) -> Response:
        """Return the response to a call.

        Raises:
            DroverError: The request is invalid, or the function fails.
        """
        with answering(call):
            query = validated_query(self.described.query or Nothing, call.request.query_params.multi_items())
            taken: dict[str, object] = {} if self.described.query is None else {"query": query}
            if self.described.method != "get":
                body = _read_body(self.described.body or Nothing, call.body)
                taken |= {} if self.described.body is None else {"body": body}
            segments = {name: segment_text(text) for name, text in call.request.path_params.items()}
            returned = self.function(**segments, **taken)
            response = _response(returned)
        if not self.has_tag:
            return response
        return _tagged(response, _tag_of(response, returned), call.request.headers.get("if-none-match"))


class RestRoutes:
    """Routes of one group."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.routes: list[RestRoute] = []

    @property
    def described(self) -> list[RouteDescription]:
        """What OpenAPI says of the routes."""
        return [route.described for route in self.routes if route.is_listed]

    def add(
        self,
        method: str,
        path: str,
        *,
        errors: tuple[type[DroverError], ...] = (),
        media_type: str | None = None,
        short: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        confirm: str | None = None,
        has_tag: bool = False,
        is_listed: bool = True,
    ) -> Callable[[Function], Function]:
        """Declare a route.

        The function's parameters are those of the path, `query` and `body`, whose models it annotates. The
        first line of its docstring is the summary, the rest the description. `media_type` is that of the
        response if the function returns no model; all else is described at `RestRoute` and
        `RouteDescription`.
        """

        def declare(function: Function) -> Function:
            hints = get_type_hints(function)
            summary, _, text = (inspect.getdoc(function) or "").partition("\n")

            described = RouteDescription(
                method,
                path,
                self._tag,
                summary.rstrip("."),
                " ".join(text.split()) or summary,
                _replies(hints["return"], media_type),
                errors,
                hints.get("body"),
                short,
                hints.get("query"),
                tuple((headers or {}).items()),
                confirm,
            )
            self.routes.append(RestRoute(described, function, has_tag, is_listed))
            return function

        return declare


def _read_body(model: type[Model], text: bytes) -> Model:
    """Return the JSON body as a model; a missing body counts as an empty object.

    Raises:
        InvalidRequest: It is not a JSON object, or a field is invalid; `details` names the fields.
    """
    try:
        body = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON ({error}). Send an object such as {{}}.") from error
    if not isinstance(body, dict):
        raise InvalidRequest("The body is not a JSON object. Send an object such as {}.")
    return validated(model, body, "field", strict=True)


def _replies(returned: Any, media_type: str | None) -> dict[int, ResponseDescription]:  # noqa: ANN401 - a type
    if media_type is not None:
        return {200: ResponseDescription("As described above.", media_type=media_type)}
    models: tuple[type[ApiModel], ...] = get_args(returned) or (returned,)
    return {
        model.status_code: ResponseDescription(
            inspect.cleandoc(model.__doc__ or ""), (model,), headers=tuple(model.header_meanings.items())
        )
        for model in models
    }


def _response(returned: object) -> Response:
    if isinstance(returned, Response):
        return returned
    if not isinstance(returned, ApiModel):
        raise TypeError(f"a route returned a {type(returned).__name__}: neither a model nor a response")
    return json_response(returned.json_object(), returned.status_code, returned.headers())


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response that ends with a line feed, for people who read it in a terminal."""
    body = json_bytes(content, separators=(",", ":")) + b"\n"
    return Response(body, status, dict(headers or {}), "application/json")


def _tag_of(response: Response, returned: object) -> str:
    """Return the `ETag` of a response; a weak one if its body may change with time alone."""
    body, prefix = bytes(response.body), ""
    if isinstance(returned, ApiModel) and (ageless := returned.without_age()) is not returned:
        body, prefix = json.dumps(ageless.json_object()).encode(), "W/"
    return f'{prefix}"{hashlib.sha256(body).hexdigest()[:32]}"'


def _tagged(response: Response, tag: str, known: str | None) -> Response:
    tags = [one.strip().removeprefix("W/") for one in (known or "").split(",")]
    if tag.removeprefix("W/") in tags:
        response = Response(status_code=HTTPStatus.NOT_MODIFIED, headers=dict(response.headers))
        del response.headers["content-length"]
    response.headers["ETag"] = tag
    return response
