"""JSON schemas of models in which the docstring below a field is its description.

Pydantic's `use_attribute_docstrings` does the same when a model is defined: it reads the source of every
model, which took a tenth of the time of a start. The document is made at its first request.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


class DescribedSchema(GenerateJsonSchema):
    """Generates the schema of a model with a description of each field that has a docstring."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of a model, as pydantic makes it, with the descriptions."""
        made = super().model_schema(schema)
        properties = made.get("properties", {})
        model = schema["cls"]
        aliases = {name: field.alias or name for name, field in model.model_fields.items()}
        for base in model.__mro__:
            for name, text in _docstrings(base.__module__).get(base.__qualname__, {}).items():
                if aliases.get(name) in properties:
                    properties[aliases[name]].setdefault("description", text)
        return made


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings below the fields of a module's classes, by class and field."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        # It is not written in Python.
        return {}
    return {one.name: dict(_below_fields(one)) for one in tree.body if isinstance(one, ast.ClassDef)}


def _below_fields(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(definition.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, inspect.cleandoc(text)
