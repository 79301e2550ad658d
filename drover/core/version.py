"""The version, read by pyproject.toml and shown by `GET /health` and `drover --version`."""

VERSION = "1.0.0-beta"
"""Version by Semantic Versioning; the name of a wheel has the PEP 440 spelling, 1.0.0b0."""
