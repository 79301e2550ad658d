"""Every answer of the HTTP contract, compared with recorded ones, so that code changes none.

Values that differ from run to run are replaced by their kind. An answer may have fields that are not
recorded, since the contract grows. After a change of the contract, record the answers and read the diff:
`RECORD_ANSWERS=1 python3 run.py test tests/integration/test_golden_answers.py`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.integration.asgi_client import Call, Client, run
from tests.integration.service_harness import ServiceHarness, running_harness
from tests.machine import kill

RECORDED: Final = Path(__file__).parent / "data" / "answers.json"
RECORD: Final = "RECORD_ANSWERS"
SHOWN_HEADERS: Final = (
    *("allow", "cache-control", "connection", "content-security-policy", "content-type", "location"),
    *("referrer-policy", "retry-after", "www-authenticate", "x-content-type-options", "x-accel-buffering"),
)
VOLATILE: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<time>"),
    (re.compile(r"(?<=\(known )(fields|parameters): [\w, ]+"), r"\1: <names>"),
    (re.compile(r"(?<=/cdp/)[\w-]{20,}"), "<secret>"),
    (re.compile(r" \(request [0-9a-f]{16}\)"), ""),
    (re.compile(r"[^ ]*/d/s/\w{8}"), "<folder>"),
    (re.compile(r"\d\d:\d\d:\d\d UTC"), "<time>"),
    (re.compile(r"http://127\.0\.0\.1:\d+/[\w-]+"), "<driver url>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"session_[0-9a-f]{12}"), "<new session>"),
    (re.compile(r"(?<=\()[^()]*(?=\); retry)"), "<reason>"),
)
VOLATILE_FIELDS: Final = frozenset(
    {
        "goog:processID",
        *("pid", "ppid", "duration_ms", "latency_ms", "memory_mb", "freed_mb", "age_s", "uptime_s", "token"),
        *("scan", "plan", "end", "sweep", "reaped", "orphans_killed", "foreign", "protected", "version"),
    }
)


@pytest.mark.skipif(sys.platform == "win32", reason="each fake is two processes there, and reports name both")
def test_every_answer_is_as_recorded(harness: ServiceHarness) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    answered: list[dict[str, Any]] = []

    async def scenario(client: Client) -> None:
        token = ""
        for step in recorded:
            method, target, body, headers = step["request"]
            if method == "KILL CHROMEDRIVER":
                running = harness.registry.get(target).running
                assert running is not None
                kill([psutil.Process(running.driver.pid)])
                answered.append(step)
                continue
            sent = {name: token if value == "<token>" else value for name, value in headers.items()}
            content = body.encode() if isinstance(body, str) else body
            call = await client.send(method, target, content, sent)
            answered.append({"request": step["request"], "answer": answer_of(call)})
            if b'"token"' in call.body:
                token = call.json()["lease"]["token"]

    run(harness.service, scenario)
    if os.environ.get(RECORD):
        RECORDED.write_text(json.dumps(answered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    for before, now in zip(recorded, answered, strict=True):
        assert list(differences(before["answer"], now["answer"], "answer")) == [], before["request"]


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    with running_harness(folder, monkeypatch) as harness:
        yield harness


def differences(recorded: Any, answer: Any, where: str) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Yield what is missing or different, or in another order."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        if [name for name in answer if name in recorded] != list(recorded):
            yield f"{where}: has the fields {list(answer)}, not {list(recorded)}"
        for name in recorded.keys() & answer.keys():
            yield from differences(recorded[name], answer[name], f"{where}.{name}")
    elif isinstance(recorded, list) and isinstance(answer, list) and len(recorded) == len(answer):
        for number, pair in enumerate(zip(recorded, answer, strict=True)):
            yield from differences(*pair, f"{where}.{number}")
    elif recorded != answer:
        yield f"{where}: is {answer!r}, not {recorded!r}"


def answer_of(call: Call) -> dict[str, object]:
    """Return what is compared of an answer."""
    headers = {name: plain(call.headers[name]) for name in SHOWN_HEADERS if name in call.headers}
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    if "content-type" in headers:
        headers["content-type"] = headers["content-type"].partition(";")[0]
    is_json = headers.get("content-type", "").startswith("application/json")
    content = "<content>" if call.body else ""
    body = fixed(json.loads(call.body)) if is_json and call.body else content
    return {"status": call.status, "headers": headers, "body": body}


def fixed(value: Any, name: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Return JSON with its volatile values replaced."""
    if name in VOLATILE_FIELDS and value is not None and not isinstance(value, str):
        return f"<{name}>"
    if isinstance(value, dict):
        return {key: fixed(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [fixed(one) for one in value]
    if name in {"token", "session_id"} and isinstance(value, str) and re.fullmatch(r"[\w-]{20,}", value):
        return f"<{name}>"
    return plain(value) if isinstance(value, str) else value


def plain(text: str) -> str:
    """Return text with its volatile parts replaced."""
    for pattern, kind in VOLATILE:
        text = pattern.sub(kind, text)
    return text
