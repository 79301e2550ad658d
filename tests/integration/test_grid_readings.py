"""What `doctor` reads of a Grid: the node's status, and the programs that run on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.cli import grid_readings
from drover.cli.grid_checks import NodeReading, ProgramReading
from drover.cli.grid_readings import read_grid
from drover.core.settings import Settings
from tests.integration.grid_nodes import SECRET, fake_node
from tests.machine import free_port

JAR = "selenium-server-4.48.0.jar"


@pytest.fixture(autouse=True)
def _no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_readings, "java_programs", lambda: ())


def settings(url: str | None, **more: object) -> Settings:
    return Settings.model_validate({"grid_node_url": url, "grid_secret": SECRET, "max_sessions": 3, **more})


def test_without_a_grid_nothing_is_read() -> None:
    assert read_grid(Settings()) is None


def test_the_status_of_the_node_is_read_as_grid_sends_it() -> None:
    with fake_node() as url:
        found = read_grid(settings(url))
    assert found is not None
    assert found.node == NodeReading(2, 120.0, 5.0, ({"browserName": "chrome", "platformName": "linux"},))
    assert (found.places, found.idle_timeout_s) == (3, 1800.0)
    assert (found.node_program, found.hub_program) == (None, None)


def test_a_wrong_secret_is_found_without_ending_a_session() -> None:
    with fake_node() as url:
        found = read_grid(settings(url, grid_secret="wrong"))
    assert found is not None
    assert isinstance(found.node, NodeReading)
    assert found.node.secret_refused


def test_a_node_that_does_not_answer_is_said() -> None:
    found = read_grid(settings(f"http://127.0.0.1:{free_port()}"))
    assert found is not None
    assert "refused" in str(found.node)


def test_programs_of_this_machine_say_what_the_status_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "n.toml").write_text(
        '[server]\nport = 7777\n[node]\n  grid-url = "http://hub:4444"  # the hub\n', encoding="utf-8"
    )
    programs = (
        (tmp_path, ("-jar", JAR, "node", "--port", "6666", "--grid-url=http://other:4444")),
        (tmp_path, ("-jar", JAR, "node", "--config", "n.toml")),
        (tmp_path, ("-jar", JAR, "hub", "--healthcheck-interval", "10")),
        (tmp_path, ("-jar", "elsewhere.jar", "node", "--port", "7777")),
    )
    monkeypatch.setattr(grid_readings, "java_programs", lambda: programs)
    for port, grid_url in (("7777", "http://hub:4444"), ("6666", "http://other:4444")):
        found = read_grid(settings(f"http://127.0.0.1:{port}"))
        assert found is not None
        assert found.node_program == ProgramReading(grid_url=grid_url)
        assert found.hub_program == ProgramReading(health_check_s=10.0)


def test_options_that_are_not_given_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = (
        (tmp_path, ("-jar", JAR, "node", "--config", "missing.toml")),
        (tmp_path, ("-jar", JAR, "hub")),
    )
    monkeypatch.setattr(grid_readings, "java_programs", lambda: programs)
    found = read_grid(settings("http://127.0.0.1:5555"))
    assert found is not None
    assert (found.node_program, found.hub_program) == (ProgramReading(), ProgramReading())
