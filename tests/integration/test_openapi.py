"""The OpenAPI document checked by a third-party validator, which takes a second or two."""

from __future__ import annotations

from openapi_spec_validator import OpenAPIV31SpecValidator

from drover.web.openapi import document


def test_the_document_is_valid() -> None:
    assert document()["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(document()).iter_errors()] == []


def test_the_validator_finds_an_error() -> None:
    wrong = document() | {"info": {"title": "no version"}}
    assert [*OpenAPIV31SpecValidator(wrong).iter_errors()]
