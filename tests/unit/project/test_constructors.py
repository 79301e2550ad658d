"""A class has at most six collaborators: whoever needs more is two things."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.project.test_layering import MODULES, ROOT

LIMIT = 6
VALUES = frozenset(
    {
        *("str", "int", "float", "bool", "bytes", "None", "Path", "datetime", "object"),
        *("Sequence", "Mapping", "Collection", "Iterable", "tuple", "list", "dict", "frozenset", "set"),
    }
)
"""What a constructor may take besides collaborators: plain values."""


def constructors(tree: ast.AST) -> Iterator[tuple[str, list[ast.arg]]]:
    """Return the names of the classes that have a constructor, with its parameters.

    A dataclass with private fields is a class with a constructor, not a value.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            private = [taken for field in fields if (taken := private_parameter(field)) is not None]
            if node.decorator_list and private:
                yield node.name, private
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    known = part.args
                    yield node.name, [*known.posonlyargs, *known.args, *known.kwonlyargs][1:]


def private_parameter(field: ast.AnnAssign) -> ast.arg | None:
    """Return the parameter of a dataclass's private field; None if the field is public or no parameter."""
    is_parameter = field.value is None or "init=False" not in ast.unparse(field.value)
    if isinstance(field.target, ast.Name) and field.target.id.startswith("_") and is_parameter:
        return ast.arg(field.target.id, field.annotation)
    return None


def is_collaborator(parameter: ast.arg) -> bool:
    """Return whether a parameter is more than a plain value."""
    assert parameter.annotation is not None
    names = [node.id for node in ast.walk(parameter.annotation) if isinstance(node, ast.Name)]
    return not set(names) <= VALUES


def collaborators(parameters: list[ast.arg]) -> list[str]:
    return [one.arg for one in parameters if is_collaborator(one)]


@pytest.mark.parametrize("module", MODULES)
def test_no_constructor_takes_more_than_six_collaborators(module: str) -> None:
    tree = ast.parse((ROOT / MODULES[module]).read_bytes())
    crowded = {
        name: taken for name, known in constructors(tree) if len(taken := collaborators(known)) > LIMIT
    }
    assert crowded == {}


def test_values_are_no_collaborators_and_functions_are() -> None:
    tree = ast.parse(
        "class C:\n"
        "    def __init__(self, a: Jobs, b: float | None, c: Callable[[], int], *, d: Sequence[str]): ...\n"
    )
    ((name, known),) = constructors(tree)
    assert (name, collaborators(known)) == ("C", ["a", "c"])


def test_private_fields_of_a_dataclass_are_parameters_unless_it_fills_them_itself() -> None:
    tree = ast.parse(
        "@dataclass(eq=False)\n"
        "class C:\n"
        "    _a: Jobs\n"
        "    _b: dict[str, Jobs] = field(default_factory=dict, init=False)\n"
        "    _c: Emit\n"
    )
    ((name, known),) = constructors(tree)
    assert (name, collaborators(known)) == ("C", ["_a", "_c"])
