"""The files in deploy/grid: every setting exists, and `doctor` would find nothing to advise."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from drover.cli.doctor import Status, worst
from drover.cli.grid_checks import GridReadings, NodeReading, ProgramReading, judge_grid
from drover.core.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "grid"
COMPOSE, KUBERNETES = FOLDER / "compose.yaml", FOLDER / "kubernetes.yaml"
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
OF_HUB = {"SE_REGISTRATION_SECRET", "SE_HEALTHCHECK_INTERVAL"}
OF_NODE = {
    *("SE_EVENT_BUS_HOST", "SE_EVENT_BUS_PUBLISH_PORT", "SE_EVENT_BUS_SUBSCRIBE_PORT", "SE_NODE_HOST"),
    *("SE_REGISTRATION_SECRET", "SE_NODE_GRID_URL", "SE_NODE_MAX_SESSIONS", "SE_NODE_OVERRIDE_MAX_SESSIONS"),
    *("SE_NODE_SESSION_TIMEOUT", "SE_NODE_HEARTBEAT_PERIOD", "SE_NODE_RELAY_URL"),
    *("SE_NODE_RELAY_STATUS_ENDPOINT", "SE_NODE_RELAY_STEREOTYPE"),
}
"""What the images of docker-selenium read (NodeBase/generate_config, generate_relay_config, start script)."""
SECONDS = re.compile(r"(\d+)s")


@dataclass(frozen=True)
class Pair:
    """A relay node and the Drover beside it, by their environment, and what they are given to stop."""

    hub: Mapping[str, str]
    relay: Mapping[str, str]
    drover: Mapping[str, str]
    grace_s: float


def compose() -> list[Pair]:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    hub = services.pop("hub")["environment"]
    pairs = []
    for name in [name for name in services if name.startswith("relay-")]:
        drover = services[name.replace("relay-", "drover-")]
        assert drover["network_mode"] == f"service:{name}"
        grace = SECONDS.fullmatch(drover["stop_grace_period"])
        assert grace is not None
        pairs.append(Pair(hub, services[name]["environment"], drover["environment"], float(grace[1])))
    return pairs


def documents() -> dict[tuple[str, str], Any]:
    loaded = yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8"))
    return {(one["kind"], one["metadata"]["name"]): one for one in loaded}


def pod(name: str) -> Any:  # noqa: ANN401 - YAML
    return documents()["Deployment", name]["spec"]["template"]["spec"]


def environment(container: Any) -> dict[str, str]:  # noqa: ANN401 - YAML
    return {one["name"]: one.get("value", "from elsewhere") for one in container["env"]}


def kubernetes() -> list[Pair]:
    (hub,) = pod("selenium-hub")["containers"]
    relay, drover = pod("drover-relay")["containers"]
    grace = float(pod("drover-relay")["terminationGracePeriodSeconds"])
    return [Pair(environment(hub), environment(relay), environment(drover), grace)]


PAIRS = [*compose(), *kubernetes()]


@pytest.mark.parametrize("pair", PAIRS, ids=["compose a", "compose b", "kubernetes"])
def test_every_setting_exists(pair: Pair) -> None:
    assert pair.drover.keys() <= SETTINGS
    assert pair.relay.keys() <= OF_NODE
    assert pair.hub.keys() <= OF_HUB


@pytest.mark.parametrize("pair", PAIRS, ids=["compose a", "compose b", "kubernetes"])
def test_doctor_would_find_nothing_to_advise(pair: Pair) -> None:
    relay, drover = pair.relay, pair.drover
    readings = GridReadings(
        drover["DROVER_GRID_NODE_URL"],
        NodeReading(
            int(relay["SE_NODE_MAX_SESSIONS"]),
            float(relay["SE_NODE_SESSION_TIMEOUT"]),
            float(relay["SE_NODE_HEARTBEAT_PERIOD"]),
            (json.loads(relay["SE_NODE_RELAY_STEREOTYPE"]),),
        ),
        ProgramReading(grid_url=relay["SE_NODE_GRID_URL"]),
        ProgramReading(health_check_s=float(pair.hub["SE_HEALTHCHECK_INTERVAL"])),
        int(drover["DROVER_MAX_SESSIONS"]),
        float(drover["DROVER_IDLE_TIMEOUT"]),
        drover.get("DROVER_NODE_LABEL"),
    )
    checks = [*judge_grid(readings)]
    assert worst(checks) is Status.OK, checks


@pytest.mark.parametrize("pair", PAIRS, ids=["compose a", "compose b", "kubernetes"])
def test_the_settings_of_drover_are_valid_and_the_relay_finds_it(pair: Pair) -> None:
    given = {name.removeprefix(PREFIX).lower(): value for name, value in pair.drover.items()}
    settings = Settings.model_validate(given)
    assert pair.relay["SE_NODE_RELAY_URL"] == f"http://127.0.0.1:{settings.port}/wd/hub"
    assert settings.host == "127.0.0.1"
    assert settings.drains_upon_sigterm
    # A drain may take its whole time, and the stop after it some seconds.
    assert pair.grace_s >= settings.drain_timeout + 30


def test_the_parts_of_a_grid_share_a_secret_and_a_version() -> None:
    for path in (COMPOSE, KUBERNETES):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"selenium/[\w-]+:(\S+)", text)) == {"4.48.0"}
    for pair in compose():
        secrets = {pair.hub["SE_REGISTRATION_SECRET"], pair.relay["SE_REGISTRATION_SECRET"]}
        assert secrets == {pair.drover["DROVER_GRID_SECRET"]}
        assert str(*secrets).startswith("${GRID_SECRET:?")


def test_compose_opens_the_hub_on_this_machine_only_and_gives_each_node_a_label() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert {name: one["ports"] for name, one in services.items() if "ports" in one} == {
        "hub": ["127.0.0.1:4444:4444"]
    }
    labels = [pair.drover["DROVER_NODE_LABEL"] for pair in compose()]
    assert labels == [json.loads(pair.relay["SE_NODE_RELAY_STEREOTYPE"])["drover:node"] for pair in compose()]
    assert len(set(labels)) == len(labels)
    drover = services["drover-a"]
    assert (FOLDER / drover["build"]["context"] / drover["build"]["dockerfile"]).is_file()


def test_a_pod_drains_before_it_stops_and_is_probed_from_inside() -> None:
    relay, drover = pod("drover-relay")["containers"]
    assert drover["lifecycle"]["preStop"]["exec"]["command"] == [".venv/bin/python", "app.py", "drain"]
    node_url = environment(drover)["DROVER_GRID_NODE_URL"]
    assert f"{node_url}/status" in relay["lifecycle"]["preStop"]["exec"]["command"][-1]
    for probe, route in (
        ("livenessProbe", "/health"),
        ("startupProbe", "/health"),
        ("readinessProbe", "/ready"),
    ):
        assert f"http://127.0.0.1:5010{route}'" in drover[probe]["exec"]["command"][-1]


def test_the_scaler_counts_as_many_sessions_as_a_pod_has() -> None:
    scaled = documents()["ScaledObject", "drover-relay"]["spec"]
    (trigger,) = scaled["triggers"]
    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in documents()
    (pair,) = kubernetes()
    stereotype = json.loads(pair.relay["SE_NODE_RELAY_STEREOTYPE"])
    told = trigger["metadata"]
    assert trigger["type"] == "selenium-grid"
    assert told["nodeMaxSessions"] == pair.relay["SE_NODE_MAX_SESSIONS"]
    for name in ("browserName", "platformName"):
        assert told[name] == stereotype[name]
    # The default of the scaler, too: a request for downloads matches only a stereotype that has them.
    assert stereotype["se:downloadsEnabled"] is True
    assert told["url"] == pair.relay["SE_NODE_GRID_URL"] + "/graphql"


def test_the_files_are_explained() -> None:
    text = (ROOT / "docs" / "grid.md").read_text(encoding="utf-8")
    assert [path.name for path in FOLDER.iterdir() if f"deploy/grid/{path.name}" not in text] == []
