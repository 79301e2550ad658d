"""The version: read by pyproject.toml, shown by `GET /health` and `drover --version`."""

VERSION = "1.0.0-beta"
"""Semantic Versioning. In the name of a wheel it is 1.0.0b0, since PEP 440 spells a pre-release that way."""
