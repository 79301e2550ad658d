"""Unusual requests, generated from the service's document, and checks of every answer.

`POST /emergency_recovery` is never sent: it would end every Chrome of the machine. `POST /drain` is never
sent either: it would end the service.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from schemathesis.core.result import Ok

from tests.acceptance.service import Json, Service
from tests.machine import wait_until

SESSION_ID: Final = "target"
ANSWER_S: Final = 60.0
NEVER: Final = frozenset({"/emergency_recovery", "/drain"})
STARTS_BROWSERS: Final = frozenset({("POST", "/sessions"), ("POST", "/wd/hub/session")})
CHECKS: Final = [status_code_conformance, content_type_conformance, response_schema_conformance]
CODES: Final = {
    400: {"invalid_request"},
    401: {"unauthorized"},
    403: {"forbidden_origin", "forbidden_host", "forbidden_capability"},
    404: {"not_found", "session_not_found"},
    405: {"method_not_allowed"},
    409: {"session_in_use", "key_conflict"},
    413: {"request_too_large"},
    415: {"unsupported_media_type"},
    500: {"cleanup_incomplete"},
    503: {"at_capacity", "browser_unavailable", "recovery_failed", "shutting_down"},
}
W3C_STATUS: Final = {
    "element click intercepted": 400,
    "element not interactable": 400,
    "insecure certificate": 400,
    "invalid argument": 400,
    "invalid cookie domain": 400,
    "invalid element state": 400,
    "invalid selector": 400,
    "invalid session id": 404,
    "javascript error": 500,
    "move target out of bounds": 500,
    "no such alert": 404,
    "no such cookie": 404,
    "no such element": 404,
    "no such frame": 404,
    "no such shadow root": 404,
    "no such window": 404,
    "script timeout": 500,
    "session not created": 500,
    "stale element reference": 404,
    "timeout": 500,
    "unable to capture screen": 500,
    "unable to set cookie": 500,
    "unexpected alert open": 500,
    "unknown command": 404,
    "unknown error": 500,
    "unknown method": 405,
    "unsupported operation": 500,
}
"""The standard's HTTP status for each error code."""

ODD_PATHS: Final = st.one_of(
    st.sampled_from(
        [
            "/sessions/",
            "/sessions//",
            "//sessions",
            "/sessions/../sessions",
            "/sessions/%2e%2e",
            "/sessions/%00",
            "/sessions/%ff%fe",
            "/sessions/target/live/x",
            "/sessions/target/lease/x",
            "/sessions/target/json/",
            "/sessions/target/json/x",
            "/sessions/target/cdp",
            "/bidi/",
            "/wd/hub//session",
            "/wd/hub/session/target//url",
            "/wd/hub/session/target/element/%2e%2e/text",
            "/wd/hub/session/%2e%2e/url",
            "/wd/hub/session/target/url?x=%zz",
            "/sessions?limit=" + "9" * 5000,
            "/sessions?recover=maybe",
            "/sessions/target?recover=false&recover=true",
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=60).map(
        lambda text: f"/{text}"
    ),
)
METHODS: Final = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO"])
RIGHT: Final = frozenset({b"", b"{}"})
"""These request a session, and start a browser."""
BODIES: Final = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.integers(min_value=1, max_value=20_000).map(lambda depth: b"[" * depth),
).filter(lambda body: body.strip() not in RIGHT)
POSTS: Final = st.sampled_from(
    [
        "/sessions",
        "/sessions/target/lease",
        "/sessions/unknown/lease",
        "/cleanup_orphaned_processes?dry_run=true",
        "/wd/hub/session",
        "/wd/hub/session/target/url",
        "/wd/hub/session/target/element",
        "/wd/hub/session/target/execute/sync",
        "/wd/hub/session/target/timeouts",
        "/wd/hub/session/target/window",
        "/wd/hub/session/target/actions",
        "/wd/hub/session/target/se/file",
        "/wd/hub/session/target/se/files",
    ]
)


class Fuzzer:
    """Sends unusual requests to a service, and checks the answers against the contract.

    Args:
        service: Has a session with the id `target`, and the cleanup scope "owned".
        examples: How many requests of each kind are sent.
        number: The random seed; the same one makes the same requests.
    """

    def __init__(self, service: Service, examples: int, number: int = 0) -> None:
        self._service = service
        self._examples = examples
        self._number = number
        self.statuses: Counter[int] = Counter()
        assert service.settings["cleanup_scope"] == "owned"

    def operations(self) -> Iterator[Any]:
        """Return the operations of the document that answer with one response."""
        schema = schemathesis.openapi.from_url(f"{self._service.url}/openapi.json")
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            media = str(operation.definition.raw["responses"])
            streams = "'101'" in media or "multipart/" in media or "event-stream" in media
            if operation.path not in NEVER and not streams:
                yield operation

    def send_documented(self, operation: Any, *, right: bool) -> None:  # noqa: ANN401
        """Send requests that the document allows, or else forbids, and check the answers against it."""
        mode = GenerationMode.POSITIVE if right else GenerationMode.NEGATIVE
        deletes_session = operation.method.upper() == "DELETE" and operation.path.endswith("{session_id}")

        def send(case: Any, to_our_session: bool) -> None:  # noqa: ANN401
            if case.meta.generation.mode != mode:
                # If a body is optional, schemathesis sometimes omits it.
                return
            if to_our_session and not deletes_session and "session_id" in (case.path_parameters or {}):
                case.path_parameters["session_id"] = SESSION_ID
            answer = case.call(timeout=ANSWER_S)
            self._judge(answer.status_code, answer.headers, answer.content, case.path)
            case.validate_response(answer, checks=CHECKS)

        strategy = operation.as_strategy(generation_mode=mode)
        try:
            self._run(send, case=strategy, to_our_session=st.booleans())
        except Unsatisfiable:
            # If nothing can be sent, nothing can be wrong with it.
            assert not right
            assert operation.body is not None
            assert not operation.body
            assert not operation.query

    def send_odd_paths(self) -> None:
        """Send any method to undocumented paths."""

        def send(method: str, path: str) -> None:
            if path.partition("?")[0].rstrip("/") not in NEVER:
                self._send(method, path, None)

        self._run(send, method=METHODS, path=ODD_PATHS)

    def send_odd_bodies(self) -> None:
        """Send bodies that are not JSON, or that no route expects."""
        self._run(lambda path, body: self._send("POST", path, body), path=POSTS, body=BODIES)

    def _run(self, send: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
        given_all = given(**strategies)(send)
        bounded = settings(
            max_examples=self._examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        seed(self._number)(bounded(given_all))()

    def _send(self, method: str, path: str, body: bytes | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=ANSWER_S)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if method != "HEAD":
                self._judge(answer.status, dict(answer.headers), content, path)
        finally:
            connection.close()

    def _judge(self, status: int, headers: Any, content: bytes, path: str) -> None:  # noqa: ANN401
        self.statuses[status] += 1
        kind = next(value for name, value in headers.items() if name.lower() == "content-type")
        if status < requests.codes.bad_request and "json" not in str(kind):
            return
        body = json.loads(content)
        if path.startswith("/wd/hub"):
            assert_w3c_contract(status, body)
        elif path == "/openapi.json" or "json" in path.split("/"):
            # A document, or DevTools' endpoints, which answer as Chrome does.
            assert status < requests.codes.bad_request or body["code"] in CODES[status], body
        else:
            assert_rest_contract(status, body)

    def finish(self) -> None:
        """Assert that the service is as healthy as before."""
        service = self._service
        assert service.is_running()
        assert not [line for line in service.logs() if "Traceback" in line or "unexpectedly" in line]
        wait_until(lambda: service.get("/health").status_code == requests.codes.ok, "it is healthy")
        assert SESSION_ID in service.listed()


def assert_rest_contract(status: int, body: Json) -> None:
    """Assert that an answer of our own routes follows the contract."""
    assert body["success"] is (status < requests.codes.bad_request), body
    if not body["success"]:
        assert status in CODES, (status, body)
        assert body.get("code") in CODES[status], (status, body)
        assert isinstance(body["error"], str)
        assert body["error"]


def assert_w3c_contract(status: int, body: Json) -> None:
    """Assert that an answer of a WebDriver route follows the standard."""
    if status < requests.codes.bad_request:
        assert "value" in body
        return
    value = body["value"]
    assert isinstance(value["message"], str)
    assert isinstance(value["stacktrace"], str)
    assert "Internal error" not in value["message"], value
    code = value.get("data", {}).get("code") if isinstance(value.get("data"), dict) else None
    refused = code is not None and status in CODES and code in CODES[status]
    assert refused or W3C_STATUS[value["error"]] == status, (status, value)
