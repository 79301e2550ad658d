"""The docstring below a field of a model is its description in the OpenAPI document."""

from __future__ import annotations

from pydantic import BaseModel, Field

from drover.web.field_descriptions import DescribedSchema


class Base(BaseModel):
    """A base of models."""

    inherited: int = 1
    """Of the base."""


class Model(Base):
    """A model."""

    renamed: int = Field(default=2, alias="otherName")
    """Has another name
    in JSON."""
    explicit: int = Field(default=3, description="Said in the field.")
    """Not this."""
    plain: int = 4


def test_a_field_is_described_by_the_docstring_below_it() -> None:
    properties = Model.model_json_schema(schema_generator=DescribedSchema)["properties"]
    described = {name: schema.get("description") for name, schema in properties.items()}
    assert described == {
        "inherited": "Of the base.",
        "otherName": "Has another name\nin JSON.",
        "explicit": "Said in the field.",
        "plain": None,
    }
