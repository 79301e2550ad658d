"""The OpenAPI document is complete and matches the real responses of the routes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drover.core.errors import DroverError
from drover.core.settings import Settings
from drover.server.service import Drover
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.pool.acquire_request import new_lease
from drover.web.openapi import ROUTES
from process_cleanup import CleanupReport, EmergencyReport, Failed
from tests.unit.core.test_errors import ALL
from tests.unit.examples import ready
from tests.unit.web.rest_client import RestClient, Served
from tests.unit.web.test_routes import (
    RECOVERY,
    FailingCleaner,
    FakeCleaner,
    FakeManager,
    RefusingManager,
    judgement,
    killed,
    serve,
)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def drover(tmp_path_factory: pytest.TempPathFactory) -> Drover:
    return Drover(Settings(data_dir=tmp_path_factory.mktemp("d")))


@pytest.fixture(scope="module")
def served(drover: Drover) -> Served:
    return Served(drover)


@pytest.fixture
def client(served: Served) -> RestClient:
    serve(served)
    return RestClient(served.application)


@pytest.fixture
def document(client: RestClient) -> Json:
    told: Json = json.loads(client.get("/openapi.json").data)
    return told


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        yield from ((method, path, operation) for method, operation in methods.items())


def media_types(document: Json) -> Iterator[Json]:
    for _, _, operation in operations(document):
        for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
            yield from holder.get("content", {}).values()


def check(document: Json, schema: Json, value: object) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def check_answer(document: Json, method: str, path: str, status: int, body: object) -> None:
    reply = document["paths"][path][method]["responses"][str(status)]
    check(document, reply["content"]["application/json"]["schema"], body)


def test_every_route_outside_of_the_rest_api_is_described_and_none_beyond(drover: Drover) -> None:
    described = [
        (route, re.sub(r"{\w+}", "x", route.path)) for route in ROUTES if route.tag in {"Attach", "Streams"}
    ]
    registered = drover.endpoints.routes()
    for known in registered:
        assert any(known.pattern.fullmatch(path) for _, path in described), known.pattern
    unknown = [
        route.path
        for route, path in described
        if not any(
            known.pattern.fullmatch(path) and (route.method.upper() in known.methods or not known.methods)
            for known in registered
        )
    ]
    assert not unknown


def test_every_field_and_parameter_has_its_meaning(document: Json) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, part in schema.get("properties", {}).items():
            assert part.get("description"), f"{name}.{field}"
    for _, path, operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        for parameter in operation.get("parameters", []):
            assert parameter["description"], path


def test_every_example_fits_its_schema(document: Json) -> None:
    seen = 0
    for media in media_types(document):
        for example in media.get("examples", {}).values():
            check(document, media["schema"], example["value"])
            seen += 1
    assert seen > len(ROUTES)


def test_every_json_body_has_an_example(document: Json) -> None:
    for _, path, operation in operations(document):
        for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
            media = holder.get("content", {}).get("application/json")
            if media is not None and "$ref" in media["schema"]:
                assert media["examples"], path


@pytest.mark.parametrize("error", ALL)
def test_every_error_code_is_known_to_the_document(document: Json, error: type[DroverError]) -> None:
    assert error.code in document["components"]["schemas"]["Failure"]["properties"]["code"]["enum"]


def test_every_reason_for_the_end_of_a_clients_session_is_described(document: Json) -> None:
    meaning = document["components"]["schemas"]["HistoryObject"]["properties"]["reason"]["description"]
    # No client has had the session of a start probe.
    reasons = {why.value for why in CloseReason if why is not CloseReason.PROBED} | {"emergency recovery"}
    assert set(re.findall("`([^`]+)`", meaning)) == reasons


def test_the_models_that_validate_requests_are_those_that_are_described(document: Json) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["SessionRequest"]["additionalProperties"] is False
    assert schemas["SessionRequest"]["properties"]["key"]["anyOf"][0]["maxLength"] == 256
    assert schemas["LeaseRequest"]["required"] == ["ttl"]
    (look,) = [
        one
        for one in document["paths"]["/sessions/{session_id}"]["get"]["parameters"]
        if one["in"] == "query"
    ]
    assert (look["name"], look["schema"]["type"], look["schema"]["default"]) == ("recover", "boolean", True)


@pytest.mark.parametrize(
    ("method", "url", "path", "status", "body"),
    [
        ("post", "/sessions", "/sessions", 200, None),
        ("post", "/sessions", "/sessions", 400, {"sesion_id": "a"}),
        ("get", "/sessions", "/sessions", 200, None),
        ("get", "/sessions/a", "/sessions/{session_id}", 200, None),
        ("get", "/sessions/a?recover=maybe", "/sessions/{session_id}", 400, None),
        ("delete", "/sessions/a", "/sessions/{session_id}", 200, None),
        ("post", "/cleanup_orphaned_processes?dry_run=true", "/cleanup_orphaned_processes", 200, None),
        ("post", "/emergency_recovery", "/emergency_recovery", 200, None),
        ("get", "/processes", "/processes", 200, None),
        ("get", "/health", "/health", 200, None),
        ("get", "/ready", "/ready", 200, None),
        ("post", "/drain", "/drain", 200, None),
    ],
)
def test_a_real_response_matches_its_description(
    served: Served,
    client: RestClient,
    document: Json,
    method: str,
    url: str,
    path: str,
    status: int,
    body: Json | None,
) -> None:
    manager = serve(served, cleaner=FakeCleaner(CleanupReport(killed=(killed(1),), reaped=(9,))))
    ready(manager.registry, "b", key="k", memory_mb=3.5)
    answer = client.open(url, method.upper(), body)
    assert answer.status_code == status
    check_answer(document, method, path, status, json.loads(answer.data))


def test_created_and_recovered_sessions_match_their_description(
    served: Served, client: RestClient, document: Json
) -> None:
    for manager, status in ((FakeManager(created=True), 201), (FakeManager(recovery=RECOVERY), 200)):
        serve(served, manager)
        answer = client.post("/sessions")
        assert answer.status_code == status
        check_answer(document, "post", "/sessions", status, json.loads(answer.data))


def test_leases_match_their_description(served: Served, client: RestClient, document: Json) -> None:
    manager = serve(served)
    manager.lease = lambda *_: new_lease(60, "me")  # type: ignore[attr-defined]
    manager.end_lease = lambda *_: None  # type: ignore[attr-defined]
    path = "/sessions/{session_id}/lease"
    granted = client.post("/sessions/a/lease", json={"ttl": 60})
    check_answer(document, "post", path, granted.status_code, json.loads(granted.data))
    ended = client.delete("/sessions/a/lease")
    check_answer(document, "delete", path, ended.status_code, json.loads(ended.data))


def test_an_incomplete_cleanup_matches_its_description(
    served: Served, client: RestClient, document: Json
) -> None:
    report = CleanupReport(failed=(Failed(judgement(2), "it is still there"),))
    serve(served, cleaner=FakeCleaner(report), emergency=EmergencyReport(report))
    for path in ("/cleanup_orphaned_processes", "/emergency_recovery"):
        answer = client.post(path)
        check_answer(document, "post", path, 500, json.loads(answer.data))
    serve(served, cleaner=FailingCleaner())
    broken = client.post("/cleanup_orphaned_processes")
    check_answer(document, "post", "/cleanup_orphaned_processes", 500, json.loads(broken.data))


def test_bad_health_matches_its_description(served: Served, client: RestClient, document: Json) -> None:
    serve(served).registry.stop()
    answer = client.get("/health")
    assert answer.status_code == 503
    check_answer(document, "get", "/health", answer.status_code, json.loads(answer.data))


def test_not_being_ready_matches_its_description(served: Served, client: RestClient, document: Json) -> None:
    registry = serve(served).registry
    for refuse in (registry.drain, registry.stop):
        refuse()
        answer = client.get("/ready")
        assert answer.status_code == 503
        check_answer(document, "get", "/ready", answer.status_code, json.loads(answer.data))


@pytest.mark.parametrize("error", ALL)
def test_every_refusal_matches_the_description_of_failures(
    served: Served, client: RestClient, document: Json, error: type[DroverError]
) -> None:
    serve(served, RefusingManager(error("Do this", {"field": "problem"})))
    failure = {"$ref": "#/components/schemas/Failure"}
    check(document, failure, json.loads(client.post("/sessions").data))


def test_an_undescribed_field_is_noticed(document: Json, client: RestClient) -> None:
    told = json.loads(client.get("/health").data) | {"surprise": 1}
    schema = document["components"]["schemas"]["ServiceHealth"]
    errors = [*Draft202012Validator({**schema, "components": document["components"]}).iter_errors(told)]
    assert "surprise" in errors[0].message


def test_metrics_are_served_as_text(client: RestClient) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"drover_healthy" in answer.data


def test_the_page_has_no_inline_code_and_no_external_resources(client: RestClient) -> None:
    answer = client.get("/docs")
    assert answer.mimetype == "text/html"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<style|style=|\son\w+=|https?://|<script(?![^>]*\ssrc=)", answer.text)


def test_the_page_and_its_parts_are_served_and_reference_no_other_host(client: RestClient) -> None:
    parts = re.findall(r'(?:src|href)="([^"]+)"', client.get("/docs").text)
    assert len(parts) >= 4
    for part in parts:
        answer = client.get(part)
        assert answer.status_code == 200, part
        told = answer.text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|localhost|example\.org|127\.0\.0\.1)", told)


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/docs.js", "/openapi.json", "/metrics"])
def test_pages_for_the_operator_are_access_checked_and_contain_no_secret(tmp_path: Path, path: str) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "api_token": "long-token"})
    client = RestClient(Served(Drover(settings)).application)
    assert client.get(path).status_code == 401
    shown = client.get(path, headers={"Authorization": "Bearer long-token"})
    assert shown.status_code == 200
    assert "long-token" not in shown.text
    assert str(tmp_path) not in shown.text
