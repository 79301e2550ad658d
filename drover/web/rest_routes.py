"""Declaration of REST routes: the function of a route takes validated models and returns a model.

Everything else follows from its signature and docstring: how its body and query are validated, its status,
and what OpenAPI says of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, get_args, get_type_hints

from flask import Blueprint, Response, jsonify, request

from drover.api.answers import ApiModel
from drover.api.validation import Nothing
from drover.core.errors import DroverError
from drover.web.request_parsing import read_body, read_query
from drover.web.route_descriptions import ResponseDescription, RouteDescription

Function = TypeVar("Function", bound=Callable[..., object])


class RestRoutes:
    """Routes of one group.

    Args:
        tag: The name of the group.
        blueprint: Where the routes are registered.
    """

    def __init__(self, tag: str, blueprint: Blueprint) -> None:
        self._tag = tag
        self.blueprint = blueprint
        self.described: list[RouteDescription] = []

    def get(self, path: str, **options: Any) -> Callable[[Function], Function]:  # noqa: ANN401 - of `add`
        """Declare a route for GET; `options` are those of `add`."""
        return self.add("get", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[Function], Function]:  # noqa: ANN401 - of `add`
        """Declare a route for POST; `options` are those of `add`."""
        return self.add("post", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[Function], Function]:  # noqa: ANN401 - of `add`
        """Declare a route for DELETE; `options` are those of `add`."""
        return self.add("delete", path, **options)

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
    ) -> Callable[[Function], Function]:
        """Declare a route.

        The function's parameters are those of the path, `query` and `body`, whose models it annotates. The
        first line of its docstring is the summary, the rest the description.

        Args:
            method: The HTTP method in lower case.
            path: The path, with `{names}`.
            errors: Errors that it may return in addition to those of every route.
            media_type: The media type of the response, if the function returns no model.
            short: A minimal useful body, for the page that shows the document.
            headers: The meaning of each header of the request that it reads.
            confirm: What the user must confirm before trying it on the page.
            has_tag: Whether the response has an `ETag`, and is 304 if the client has the same.
        """

        def declare(function: Function) -> Function:
            hints = get_type_hints(function)
            query, body = hints.get("query", Nothing), hints.get("body", Nothing)
            summary, _, text = (inspect.getdoc(function) or "").partition("\n")

            @wraps(function)
            def answer(**parameters: object) -> Response:
                read = {"query": read_query(query)} | ({} if method == "get" else {"body": read_body(body)})
                parameters |= {name: value for name, value in read.items() if name in hints}
                response = _response(function(**parameters))
                if has_tag:
                    response.add_etag()
                    response.make_conditional(request)
                return response

            rule = path.replace("{", "<").replace("}", ">")
            self.blueprint.add_url_rule(rule, function.__name__, answer, methods=[method])
            self.described.append(
                RouteDescription(
                    method,
                    path,
                    self._tag,
                    summary.rstrip("."),
                    " ".join(text.split()) or summary,
                    _replies(hints["return"], media_type),
                    errors,
                    body if "body" in hints else None,
                    short,
                    query if "query" in hints else None,
                    tuple((headers or {}).items()),
                    confirm,
                )
            )
            return function

        return declare


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
        raise TypeError(
            f"a route returned {type(returned).__name__}, which is neither a model nor a response"
        )
    response = jsonify(returned.json_object())
    response.status_code = returned.status_code
    response.headers.update(returned.headers())
    return response
