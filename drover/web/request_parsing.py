"""Validated bodies and query parameters of requests."""

from __future__ import annotations

import json

from drover.api.validation import Model, validated, validated_query
from drover.core.errors import InvalidRequest
from drover.web.calls import current_call


def read_body(model: type[Model]) -> Model:
    """Return the JSON body as a model; a missing body counts as an empty object.

    Raises:
        InvalidRequest: It is not a JSON object, or a field is invalid; `details` names the fields.
    """
    text = current_call().body
    try:
        body = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON ({error}). Send an object such as {{}}.") from error
    if not isinstance(body, dict):
        raise InvalidRequest("The body is not a JSON object. Send an object such as {}.")
    return validated(model, body, "field", strict=True)


def read_query(model: type[Model]) -> Model:
    """Return the query parameters as a model.

    Raises:
        InvalidRequest: A parameter is unknown, repeated or invalid.
    """
    return validated_query(model, current_call().request.query_params.multi_items())
