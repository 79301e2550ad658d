"""`create_app`: the service inside a third-party ASGI server."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.acceptance.service import APP, Service


def hosted(folder: Path, **settings: object) -> Service:
    service = Service(folder, **settings)
    service.command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "app:create_app"),
        *("--app-dir", str(APP.parent), "--port", str(service.port), "--log-level", "warning"),
    ]
    return service


def test_another_server_starts_and_stops_the_service_with_its_lifespan(folder: Path) -> None:
    service = hosted(folder).start()
    try:
        assert service.post("/sessions", json={"session_id": "a"}).status_code == 201
    finally:
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) is not None
    assert list((service.data_dir / "s").iterdir()) == []


def test_a_setting_that_prevents_the_start_is_reported_by_that_server(folder: Path) -> None:
    service = hosted(folder, chrome_args="--user-data-dir=x")
    service.launch()
    assert service.process.wait(20) != 0
    assert any("DROVER_CHROME_ARGS" in line for line in service.logs())
