"""Read the body and the parameters of a request as validated values."""

from __future__ import annotations

import json

from flask import request

from drover.api.validation import Model, validated
from drover.core.errors import InvalidRequest


def read_body(model: type[Model]) -> Model:
    """Read the JSON body; a missing one is an empty object.

    Raises:
        InvalidRequest: It is no JSON object, or a field is wrong; `details` names the fields.
    """
    text = request.get_data()
    try:
        body = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON ({error}); send an object such as {{}}") from error
    if not isinstance(body, dict):
        raise InvalidRequest("The body is not a JSON object; send one such as {}")
    return validated(model, body, "field", strict=True)


def read_query(model: type[Model]) -> Model:
    """Read the parameters behind the `?`; a misspelt one is refused, since it may have meant much.

    Raises:
        InvalidRequest: A parameter is unknown, given twice, or wrong.
    """
    repeated = [name for name in request.args if len(request.args.getlist(name)) > 1]
    if repeated:
        raise InvalidRequest(f"Send the parameter {repeated[0]} only once")
    return validated(model, request.args.to_dict(), "parameter", strict=False)
