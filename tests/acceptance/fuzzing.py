"""Requests that nobody would write by hand, made from the service's document, and what each answer must be.

`POST /emergency_recovery` is never asked: it would end every Chrome of the machine.
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

PREY: Final = "prey"
ANSWER_S: Final = 60.0
NEVER: Final = frozenset({"/emergency_recovery"})
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
"""What the standard has for each error word."""

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
            "/sessions/prey/live/x",
            "/sessions/prey/lease/x",
            "/sessions/prey/json/",
            "/sessions/prey/json/x",
            "/sessions/prey/cdp",
            "/bidi/",
            "/wd/hub//session",
            "/wd/hub/session/prey//url",
            "/wd/hub/session/prey/element/%2e%2e/text",
            "/wd/hub/session/%2e%2e/url",
            "/wd/hub/session/prey/url?x=%zz",
            "/sessions?limit=" + "9" * 5000,
            "/sessions?recover=maybe",
            "/sessions/prey?recover=false&recover=true",
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=60).map(
        lambda text: f"/{text}"
    ),
)
METHODS: Final = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO"])
RIGHT: Final = frozenset({b"", b"{}"})
"""These ask for a session, and start a browser."""
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
        "/sessions/prey/lease",
        "/sessions/nobody/lease",
        "/cleanup_orphaned_processes?dry_run=true",
        "/wd/hub/session",
        "/wd/hub/session/prey/url",
        "/wd/hub/session/prey/element",
        "/wd/hub/session/prey/execute/sync",
        "/wd/hub/session/prey/timeouts",
        "/wd/hub/session/prey/window",
        "/wd/hub/session/prey/actions",
        "/wd/hub/session/prey/se/file",
        "/wd/hub/session/prey/se/files",
    ]
)


class Fuzzer:
    """Asks a service odd questions, and holds it to the contract.

    Args:
        service: It has a session of the id `prey`, and ends no process of a stranger.
        examples: How many requests of each kind are made.
        number: Where chance begins; the same one makes the same requests.
    """

    def __init__(self, service: Service, examples: int, number: int = 0) -> None:
        self._service = service
        self._examples = examples
        self._number = number
        self.statuses: Counter[int] = Counter()
        assert service.settings["cleanup_scope"] == "owned"

    def operations(self) -> Iterator[Any]:
        """Give what the document describes and one request answers, by method and path."""
        schema = schemathesis.openapi.from_url(f"{self._service.url}/openapi.json")
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            media = str(operation.definition.raw["responses"])
            streams = "'101'" in media or "multipart/" in media or "event-stream" in media
            if operation.path not in NEVER and not streams:
                yield operation

    def ask_by_the_document(self, operation: Any, *, right: bool) -> None:  # noqa: ANN401
        """Send what the document allows, or else what it forbids, and hold the answers to the document."""
        mode = GenerationMode.POSITIVE if right else GenerationMode.NEGATIVE
        ends_it = operation.method.upper() == "DELETE" and operation.path.endswith("{session_id}")

        def ask(case: Any, of_the_prey: bool) -> None:  # noqa: ANN401
            if case.meta.generation.mode != mode:
                # Where a body may be left out, it is what schemathesis leaves out now and then.
                return
            if of_the_prey and not ends_it and "session_id" in (case.path_parameters or {}):
                case.path_parameters["session_id"] = PREY
            answer = case.call(timeout=ANSWER_S)
            self._judge(answer.status_code, answer.headers, answer.content, case.path)
            case.validate_response(answer, checks=CHECKS)

        strategy = operation.as_strategy(generation_mode=mode)
        try:
            self._run(ask, case=strategy, of_the_prey=st.booleans())
        except Unsatisfiable:
            # Where nothing can be sent, nothing can be wrong with it.
            assert not right
            assert operation.body is not None
            assert not operation.body
            assert not operation.query

    def ask_with_odd_paths(self) -> None:
        """Send any method to paths that nobody meant."""

        def ask(method: str, path: str) -> None:
            if path.partition("?")[0].rstrip("/") not in NEVER:
                self._send(method, path, None)

        self._run(ask, method=METHODS, path=ODD_PATHS)

    def ask_with_odd_bodies(self) -> None:
        """Send bodies that are no JSON, or none that anybody expects."""
        self._run(lambda path, body: self._send("POST", path, body), path=POSTS, body=BODIES)

    def _run(self, ask: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
        given_all = given(**strategies)(ask)
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
        told = json.loads(content)
        if path.startswith("/wd/hub"):
            judge_w3c(status, told)
        elif path.rstrip("/").endswith(("/json/version", "/json/list", "/json", "/openapi.json")):
            assert status < requests.codes.bad_request or told["code"] in CODES[status], told
        else:
            judge_rest(status, told)

    def finish(self) -> None:
        """Hold the service to being as well as before."""
        service = self._service
        assert service.is_running()
        assert not [line for line in service.logs() if "Traceback" in line or "unexpectedly" in line]
        wait_until(lambda: service.get("/health").status_code == requests.codes.ok, "it is healthy")
        assert PREY in service.listed()


def judge_rest(status: int, told: Json) -> None:
    """Hold an answer of our own routes to the contract."""
    assert told["success"] is (status < requests.codes.bad_request), told
    if not told["success"]:
        assert status in CODES, (status, told)
        assert told.get("code") in CODES[status], (status, told)
        assert isinstance(told["error"], str)
        assert told["error"]


def judge_w3c(status: int, told: Json) -> None:
    """Hold an answer of the WebDriver door to the standard."""
    if status < requests.codes.bad_request:
        assert "value" in told
        return
    value = told["value"]
    assert isinstance(value["message"], str)
    assert isinstance(value["stacktrace"], str)
    assert "Something unexpected" not in value["message"], value
    code = value.get("data", {}).get("code") if isinstance(value.get("data"), dict) else None
    refused = code is not None and status in CODES and code in CODES[status]
    assert refused or W3C_STATUS[value["error"]] == status, (status, value)
