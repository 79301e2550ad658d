"""The checks of `doctor` on a simulated Grid: one finding at a time, each with its advice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drover.cli.doctor import Status, worst
from drover.cli.grid_checks import GridReadings, NodeReading, ProgramReading, judge_grid

NODE = NodeReading(
    slots=4,
    session_timeout_s=300.0,
    heartbeat_s=5.0,
    stereotypes=({"browserName": "chrome", "drover:node": "a"},),
)
WELL = GridReadings(
    url="http://127.0.0.1:5555",
    node=NODE,
    node_program=ProgramReading(grid_url="http://hub:4444"),
    hub_program=ProgramReading(health_check_s=10.0),
    places=4,
    idle_timeout_s=360.0,
    label="a",
)


def with_node(**changes: object) -> GridReadings:
    return replace(WELL, node=replace(NODE, **changes))  # type: ignore[arg-type]


def test_a_healthy_grid_gets_no_advice() -> None:
    checks = [*judge_grid(WELL)]
    assert worst(checks) is Status.OK
    assert [check.advice for check in checks if check.advice] == []
    assert len({check.name for check in checks}) == len(checks)


@pytest.mark.parametrize(
    ("readings", "name", "status", "words"),
    [
        (replace(WELL, node="connection refused"), "grid node", Status.WARNING, "DROVER_GRID_NODE_URL"),
        (with_node(secret_refused=True), "grid node", Status.WARNING, "DROVER_GRID_SECRET"),
        (with_node(slots=5), "grid slots", Status.PROBLEM, "session ends another's"),
        (with_node(slots=3), "grid slots", Status.WARNING, "does not use"),
        (replace(WELL, idle_timeout_s=300.0), "grid timeouts", Status.WARNING, "DROVER_IDLE_TIMEOUT"),
        (replace(WELL, idle_timeout_s=0.0), "grid timeouts", Status.WARNING, "never end"),
        (with_node(stereotypes=({},)), "stereotypes", Status.PROBLEM, "browserName"),
        (with_node(stereotypes=()), "stereotypes", Status.PROBLEM, "browserName"),
        (replace(WELL, label=None), "stereotypes", Status.PROBLEM, "DROVER_NODE_LABEL"),
        (
            with_node(stereotypes=({"browserName": "chrome", "drover:options": {"idle_timeout": 9}},)),
            "stereotypes",
            Status.WARNING,
            "DROVER_IDLE_TIMEOUT",
        ),
        (with_node(heartbeat_s=60.0), "grid heartbeat", Status.WARNING, "heartbeat-period = 5"),
        (replace(WELL, node_program=ProgramReading()), "grid url", Status.PROBLEM, "grid-url"),
        (replace(WELL, hub_program=ProgramReading()), "grid health", Status.WARNING, "healthcheck-interval"),
        (
            replace(WELL, hub_program=ProgramReading(health_check_s=120.0)),
            "grid health",
            Status.WARNING,
            "healthcheck-interval",
        ),
    ],
)
def test_a_finding_has_its_advice(readings: GridReadings, name: str, status: Status, words: str) -> None:
    checks = {check.name: check for check in judge_grid(readings)}
    assert (checks[name].status, worst(checks.values())) == (status, status)
    assert words in str(checks[name].advice)


def test_programs_that_run_elsewhere_are_no_finding() -> None:
    checks = [*judge_grid(replace(WELL, node_program=None, hub_program=None))]
    assert worst(checks) is Status.OK
    assert sum("not visible here" in check.found for check in checks) == 2
