"""The files in deploy/ for several machines agree with each other and with the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from drover.core.settings import PREFIX, Settings
from drover.server.serve import LINGER_S
from drover.sessions.lifecycle.shutdown import STOP_S

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = DEPLOY / "compose-cluster.yaml"
NGINX = (DEPLOY / "nginx-cluster.conf").read_text(encoding="utf-8")
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
FILES = [*sorted(KUBERNETES.glob("*.yaml")), COMPOSE]


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.fixture
def stateful() -> dict[str, Any]:
    (found,) = documents(KUBERNETES / "statefulset.yaml")
    return found


@pytest.fixture
def container(stateful: dict[str, Any]) -> dict[str, Any]:
    (found,) = stateful["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_named_variable_is_a_setting(path: Path) -> None:
    assert set(re.findall(r"\bDROVER_[A-Z_]+\b", path.read_text(encoding="utf-8"))) <= SETTINGS


def test_every_value_is_one_that_the_setting_takes(container: dict[str, Any]) -> None:
    (compose,) = documents(COMPOSE)
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    for environment in (given, *(service.get("environment", {}) for service in compose["services"].values())):
        values = {
            name.removeprefix(PREFIX).lower(): re.sub(r"\$[({][^)}]*[)}]", "x", str(value))
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        assert Settings.model_validate(values).model_fields_set == values.keys()


def test_the_kustomization_lists_every_file() -> None:
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    others = {path.name for path in KUBERNETES.iterdir()} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == others


def test_every_pod_has_a_name_by_which_the_others_reach_it(
    stateful: dict[str, Any], container: dict[str, Any]
) -> None:
    services = {one["metadata"]["name"]: one["spec"] for one in documents(KUBERNETES / "service.yaml")}
    nodes = stateful["spec"]["serviceName"]
    assert services[nodes]["clusterIP"] == "None"
    assert services[nodes]["publishNotReadyAddresses"] is True
    variables = {one["name"]: one.get("value") for one in container["env"]}
    port = container["ports"][0]["containerPort"]
    assert variables["DROVER_NODE_URL"] == f"http://$(POD_NAME).{nodes}:{port}"
    assert variables["DROVER_NODE_NAME"] == "$(POD_NAME)"
    assert all(service["ports"][0]["port"] == port for service in services.values())
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert all(service["selector"] == labels for service in services.values())


def test_the_database_never_has_a_pod_ended(container: dict[str, Any]) -> None:
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["startupProbe"]["httpGet"]["path"] == "/health"
    assert "/ready" in str(container["readinessProbe"])


def test_a_pod_has_time_to_drain(stateful: dict[str, Any], container: dict[str, Any]) -> None:
    variables = {one["name"]: one.get("value") for one in container["env"]}
    needed = float(variables["DROVER_DRAIN_TIMEOUT"]) + STOP_S + LINGER_S
    assert stateful["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= needed


def test_the_pod_runs_as_the_user_of_the_image(stateful: dict[str, Any]) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    context = stateful["spec"]["template"]["spec"]["securityContext"]
    assert f"--uid {context['runAsUser']}" in dockerfile


def test_compose_has_three_nodes_of_one_database_behind_the_proxy() -> None:
    (compose,) = documents(COMPOSE)
    nodes = {
        name: service["environment"]
        for name, service in compose["services"].items()
        if "DROVER_NODE_NAME" in service.get("environment", {})
    }
    assert len(nodes) == 3
    assert len({one["DROVER_DATABASE_URL"] for one in nodes.values()}) == 1
    for name, environment in nodes.items():
        assert environment["DROVER_NODE_NAME"] == name
        assert environment["DROVER_NODE_URL"] == f"http://{name}:5010"
    assert set(re.findall(r"server (\w+):5010", NGINX)) == set(nodes)
    assert compose["services"]["proxy"]["volumes"] == [
        "./nginx-cluster.conf:/etc/nginx/conf.d/default.conf:ro"
    ]
