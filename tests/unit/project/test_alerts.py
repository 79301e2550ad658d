"""Alert rules use existing metrics and label values, and say what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from drover.sessions.pool.registry import SessionRegistry
from drover.web.metrics import Metrics
from tests.unit.examples import MemoryJournal, node

FILE = Path(__file__).parents[3] / "deploy" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
SAMPLES = [
    sample
    for family in text_string_to_metric_families(
        Metrics(SessionRegistry(1, 1, MemoryJournal()), lambda: True, lambda: (node(1),))
        .exposition()
        .decode()
    )
    for sample in family.samples
]
NAME = re.compile(r"\bdrover_\w+")
SELECTOR = re.compile(r'(drover_\w+)\{(\w+)="([^"]+)"\}')


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_a_rule_names_existing_metrics(rule: dict[str, Any]) -> None:
    named = set(NAME.findall(rule["expr"])) | set(NAME.findall(rule["annotations"]["runbook"]))
    assert NAME.search(rule["expr"])
    assert named <= {sample.name for sample in SAMPLES}


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_a_rule_uses_existing_label_values(rule: dict[str, Any]) -> None:
    present = {(sample.name, *pair) for sample in SAMPLES for pair in sample.labels.items()}
    assert set(SELECTOR.findall(rule["expr"])) <= present
    assert rule["expr"].count('="') == len(SELECTOR.findall(rule["expr"]))


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_a_rule_says_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert all("\n" not in text for text in rule["annotations"].values())


def test_every_failure_that_needs_an_operator_has_a_rule() -> None:
    names = {rule["alert"] for rule in RULES}
    assert len(names) == len(RULES)
    assert names >= {
        "DroverRecoveriesPileUp",
        "DroverOrphansComeBack",
        "DroverAtCapacity",
        "DroverStartsFail",
        "DroverUnhealthy",
    }
