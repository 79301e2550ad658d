"""Checks of a Selenium Grid whose node relays to this service, as pure functions of what was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drover.cli.doctor import Check, Status

SLOW_HEARTBEAT_S = 10.0
SLOW_HEALTH_CHECK_S = 30.0


@dataclass(frozen=True, slots=True)
class NodeReading:
    """A node's description of itself.

    Attributes:
        slots: How many sessions it runs at a time.
        session_timeout_s: After how many seconds without a command Grid ends a session.
        heartbeat_s: Seconds between two signs of life that it sends to the hub.
        stereotypes: The different capabilities of its slots.
        secret_refused: Whether it refuses the registration secret.
    """

    slots: int
    session_timeout_s: float
    heartbeat_s: float
    stereotypes: tuple[Mapping[str, object], ...]
    secret_refused: bool = False


@dataclass(frozen=True, slots=True)
class ProgramReading:
    """What one of Grid's programs is told by its command line and file; None if they do not say.

    Attributes:
        grid_url: Address of the hub, as clients reach it.
        health_check_s: Seconds between the hub's health checks of its nodes.
    """

    grid_url: str | None = None
    health_check_s: float | None = None


@dataclass(frozen=True, slots=True)
class GridReadings:
    """Everything that was read of the Grid.

    Attributes:
        node: Its status, or why it could not be read.
        node_program: Its program; None if it does not run on this machine, or in another container.
        hub_program: That of the hub or distributor; None likewise.
        places: `DROVER_MAX_SESSIONS`.
        idle_timeout_s: `DROVER_IDLE_TIMEOUT`.
        label: `DROVER_NODE_LABEL`.
    """

    url: str
    node: NodeReading | str
    node_program: ProgramReading | None
    hub_program: ProgramReading | None
    places: int
    idle_timeout_s: float
    label: str | None


def judge_grid(readings: GridReadings) -> Iterator[Check]:
    """Yield a check for everything that was read."""
    node = readings.node
    if isinstance(node, str):
        advice = "start the node, or set DROVER_GRID_NODE_URL to its address"
        yield Check("grid node", Status.WARNING, f"{readings.url} cannot be used: {node}", advice)
        return
    yield _secret(node, readings.url)
    yield _slots(node.slots, readings.places)
    yield _timeouts(node.session_timeout_s, readings.idle_timeout_s)
    yield _stereotypes(node.stereotypes, readings.label)
    yield _heartbeat(node.heartbeat_s)
    yield _grid_url(readings.node_program)
    yield _health_checks(readings.hub_program)


def _secret(node: NodeReading, url: str) -> Check:
    if not node.secret_refused:
        return Check("grid node", Status.OK, f"{url} answers")
    found = f"{url} refuses the registration secret, so it is not told of sessions that end"
    return Check("grid node", Status.WARNING, found, "set DROVER_GRID_SECRET to Grid's registration secret")


def _slots(slots: int, places: int) -> Check:
    found = f"{slots} slots in Grid's node, {places} places in Drover"
    if slots > places:
        advice = (
            "set DROVER_MAX_SESSIONS to the number of slots: with more slots, a new client's session ends "
            "another's"
        )
        return Check("grid slots", Status.PROBLEM, found, advice)
    if slots < places:
        advice = "set DROVER_MAX_SESSIONS to the number of slots: Grid does not use the other places"
        return Check("grid slots", Status.WARNING, found, advice)
    return Check("grid slots", Status.OK, found)


def _timeouts(session_s: float, idle_s: float) -> Check:
    found = f"Grid ends a session after {session_s:g} s without a command, Drover after {idle_s:g} s"
    if idle_s == 0:
        advice = (
            "set DROVER_IDLE_TIMEOUT above Grid's session-timeout, or sessions that Grid has lost never end"
        )
        return Check("grid timeouts", Status.WARNING, found.replace("after 0 s", "never"), advice)
    if idle_s <= session_s:
        advice = (
            "set DROVER_IDLE_TIMEOUT above Grid's session-timeout, or sessions end before Grid expects it"
        )
        return Check("grid timeouts", Status.WARNING, found, advice)
    return Check("grid timeouts", Status.OK, found)


def _stereotypes(stereotypes: tuple[Mapping[str, object], ...], label: str | None) -> Check:
    name = "stereotypes"
    if not stereotypes or not all(stereotypes):
        advice = 'give every stereotype a capability, such as {"browserName": "chrome"}'
        return Check(
            name, Status.PROBLEM, "a stereotype without capabilities, which matches no request", advice
        )
    wrong = [node for one in stereotypes if (node := one.get("drover:node")) not in {None, label}]
    if wrong:
        found = f"drover:node is {wrong[0]!r} in a stereotype, and the label of this service is {label!r}"
        return Check(
            name, Status.PROBLEM, found, "set DROVER_NODE_LABEL to it: every such request is refused"
        )
    if any("drover:options" in one for one in stereotypes):
        advice = "remove it from the stereotype; DROVER_IDLE_TIMEOUT is the default for all sessions"
        found = "drover:options in a stereotype: a request with its own drover:options matches no slot"
        return Check(name, Status.WARNING, found, advice)
    return Check(name, Status.OK, "every stereotype has a capability")


def _heartbeat(heartbeat_s: float) -> Check:
    found = f"the node sends a sign of life every {heartbeat_s:g} s"
    if heartbeat_s <= SLOW_HEARTBEAT_S:
        return Check("grid heartbeat", Status.OK, found)
    advice = "set heartbeat-period = 5 in [node], so that Grid soon knows whether Drover runs"
    return Check("grid heartbeat", Status.WARNING, found, advice)


def _grid_url(program: ProgramReading | None) -> Check:
    if program is None:
        return Check(
            "grid url", Status.OK, "not visible here; grid-url in [node] has to be the hub's address"
        )
    if program.grid_url is not None:
        return Check("grid url", Status.OK, program.grid_url)
    advice = "set grid-url in [node] to the hub's address: clients' CDP and BiDi addresses begin with it"
    return Check("grid url", Status.PROBLEM, "grid-url is not set", advice)


def _health_checks(program: ProgramReading | None) -> Check:
    name = "grid health"
    if program is None:
        return Check(name, Status.OK, "not visible here; healthcheck-interval of the hub should be 10 s")
    every_s = program.health_check_s
    if every_s is not None and every_s <= SLOW_HEALTH_CHECK_S:
        return Check(name, Status.OK, f"the hub checks its nodes every {every_s:g} s")
    found = "every 120 s, Grid's default" if every_s is None else f"every {every_s:g} s"
    advice = "set --healthcheck-interval 10, so that no session is sent to a node whose Drover has ended"
    return Check(name, Status.WARNING, f"the hub checks its nodes {found}", advice)
