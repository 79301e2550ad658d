"""The version of the service, as `GET /health` and `--version` tell it."""

VERSION = "0.1.0"
