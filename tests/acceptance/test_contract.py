"""The contract of the running service: the document, the page to try it, and the metrics."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.service import Json, Service, expect
from tests.machine import wait_until

ROUTES_SHOWN = "return document.querySelectorAll('details.route').length"
SEND = """
const route = document.getElementById(arguments[0]);
route.open = true;
route.querySelector('form').requestSubmit();
"""
ANSWERED = "return document.getElementById(arguments[0]).querySelector('[role=status]').textContent"


@pytest.fixture
def document(service: Service) -> Json:
    answer = service.get("/openapi.json")
    assert answer.status_code == 200
    content: Json = answer.json()
    return content


def check(document: Json, method: str, path: str, answer: requests.Response) -> Json:
    """Check a real answer against its description, and return it."""
    media = document["paths"][path][method]["responses"][str(answer.status_code)]["content"]
    schema = media["application/json"]["schema"]
    content: Json = answer.json()
    Draft202012Validator({**schema, "components": document["components"]}).validate(content)
    return content


def metric(service: Service, name: str, **labels: str) -> float:
    """Return the value of one metric."""
    families = text_string_to_metric_families(service.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    (value,) = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
    return float(value)


def test_real_answers_match_the_document(service: Service, document: Json) -> None:
    one, lease = "/sessions/{session_id}", "/sessions/{session_id}/lease"
    body = {"session_id": "checked", "key": "k", "lease": {"ttl": 60}, "url": "about:blank"}
    check(document, "post", "/sessions", service.post("/sessions", json=body))
    del body["url"]
    created = check(document, "post", "/sessions", service.post("/sessions", json=body))
    token = {"Lease-Token": created["lease"]["token"]}
    check(document, "post", lease, service.post("/sessions/checked/lease", json={"ttl": 5}, headers=token))
    check(document, "delete", lease, service.delete("/sessions/checked/lease", headers=token))
    kill(created["session"]["driver"]["pid"])
    recovered = check(document, "get", one, service.get("/sessions/checked"))
    assert recovered["recovered"] is True
    check(document, "get", "/sessions", service.get("/sessions"))
    check(document, "get", "/processes", service.get("/processes"))
    check(document, "get", "/health", service.get("/health"))
    cleanup = "/cleanup_orphaned_processes"
    check(document, "post", cleanup, service.post(f"{cleanup}?dry_run=true"))
    check(document, "delete", one, service.delete("/sessions/checked"))
    check(document, "get", one, service.get("/sessions/checked"))


def test_metrics_count_events(service: Service) -> None:
    starts = metric(service, "drover_starts_total", result="ok")
    labels = {"cause": "driver_gone", "method": "reattached"}
    recoveries = metric(service, "drover_recoveries_total", **labels)
    session = service.create(session_id="counted")
    assert metric(service, "drover_starts_total", result="ok") == starts + 1
    assert metric(service, "drover_sessions", state="ready") == 1
    kill(session["driver"]["pid"])
    expect(service.get("/sessions/counted"))
    assert metric(service, "drover_recoveries_total", **labels) == recoveries + 1
    expect(service.delete("/sessions/counted"))
    assert metric(service, "drover_sessions", state="ready") == 0


def test_the_page_shows_every_route_and_tries_one_without_an_error(service: Service, document: Json) -> None:
    driver = Driver(service.create(session_id="reader"))
    driver.open(f"http://localhost:{service.port}/docs")
    routes = sum(len(methods) for methods in document["paths"].values())
    wait_until(lambda: driver.run(ROUTES_SHOWN) == routes, "the page shows every route")
    driver.run(SEND, "get_sessions")
    answered = wait_for_answer(driver, "get_sessions")
    assert answered.startswith("200 OK")
    assert '"session_id": "reader"' in answered
    assert severe(driver) == []
    resources = driver.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert resources
    assert all(name.startswith(f"http://localhost:{service.port}/") for name in resources)


def test_the_page_sends_a_body_and_parameters_and_shows_a_picture(service: Service) -> None:
    driver = Driver(service.create(session_id="writer"))
    driver.open(f"http://localhost:{service.port}/docs")
    wait_until(lambda: driver.run(ROUTES_SHOWN) > 0, "the page is loaded")
    driver.run(
        "const route = document.getElementById('post_sessions_session_id_lease');"
        "route.querySelector('input[name=session_id]').value = 'writer';"
    )
    driver.run(SEND, "post_sessions_session_id_lease")
    assert wait_for_answer(driver, "post_sessions_session_id_lease").startswith("200 OK")
    assert service.report("writer")["lease"] is not None
    driver.run(
        "const route = document.getElementById('get_sessions_session_id_screenshot');"
        "route.querySelector('input[name=session_id]').value = 'writer';"
    )
    driver.run(SEND, "get_sessions_session_id_screenshot")
    shown = "const image = document.querySelector('#get_sessions_session_id_screenshot img');"
    wait_until(lambda: driver.run(f"{shown} return image?.naturalWidth > 0"), "the picture is shown")
    assert severe(driver) == []


def test_destructive_requests_are_sent_only_after_confirmation(service: Service) -> None:
    driver = Driver(service.create(session_id="careful"))
    driver.open(f"http://localhost:{service.port}/docs")
    wait_until(lambda: driver.run(ROUTES_SHOWN) > 0, "the page is loaded")
    for route in ("post_emergency_recovery", "post_cleanup_orphaned_processes", "delete_sessions_session_id"):
        driver.run(SEND, route)
        assert driver.run(ANSWERED, route) == ""
        assert driver.run(f"return document.querySelector('#{route} form').checkValidity()") is False
    assert "careful" in service.listed()


def wait_for_answer(driver: Driver, route: str) -> str:
    wait_until(lambda: "·" in driver.run(ANSWERED, route), f"{route} is answered")
    return str(driver.run(ANSWERED, route))


def severe(driver: Driver) -> list[Any]:
    """Return the errors of the page's console, including policy violations."""
    entries = driver._call("POST", "/se/log", {"type": "browser"})
    return [entry for entry in entries if entry["level"] == "SEVERE"]
