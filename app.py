"""Entry point: `python app.py [command]`, and `create_app` for another ASGI server."""

from __future__ import annotations

import sys

from drover.cli.commands import main
from drover.core.settings import Settings
from drover.net.asgi import Application
from drover.server.application import DroverApplication


def create_app(settings: Settings | None = None) -> Application:
    """Return the service as an ASGI application: `uvicorn --factory app:create_app --port 5010`."""
    return DroverApplication(settings)


if __name__ == "__main__":
    sys.exit(main())
