"""The tables of capabilities: every row does what it says."""

from __future__ import annotations

from collections import Counter

import pytest

from drover.browser.capabilities import preferences, switches
from drover.browser.capabilities.policy import CheckedCapabilities, Policy
from drover.browser.capabilities.tables import CAPABILITIES, PREFERENCES, SWITCHES, Decision, Row, Table
from drover.core.errors import ForbiddenCapability

OPTIONS = "goog:chromeOptions"
GOOD_VALUES = {
    "": "1",
    "features_off": "Translate,site-per-process",
    "features_on": "NetworkService,NetworkServiceSandbox",
    "v8_flags": "--max-old-space-size=512 --expose-gc",
    "web_address": "https://proxy.example/p.pac",
    "address": "https://example.org/",
    "only_true": True,
}
BAD_VALUES = {
    "features_off": "Translate,NetworkServiceSandbox",
    "features_on": "Translate,MojoJS",
    "v8_flags": "--prof",
    "web_address": "file:///etc/passwd",
    "address": "file:///etc/passwd",
    "only_true": False,
}
# What is passed on has a value of its own kind, which other tests check.
CHECKED_ELSEWHERE = {row.name for row in CAPABILITIES.rows if row.decision is Decision.ALLOW}


def named(rows: tuple[Row, ...]) -> dict[str, Row]:
    """Return rows by an example of their name."""
    return {row.name.replace("*", "example"): row for row in rows}


def check(wanted: dict[str, object]) -> CheckedCapabilities:
    return Policy().check(wanted)


def outcome(wanted: dict[str, object], name: str) -> tuple[Decision, str]:
    """Return what became of a request for one thing, and the reason that was given."""
    try:
        checked = check(wanted)
    except ForbiddenCapability as refused:
        return Decision.REFUSE, refused.message
    reasons = {ignored.name: ignored.reason for ignored in checked.ignored}
    if name in reasons:
        return Decision.SET_ASIDE, reasons[name]
    return Decision.ALLOW, str(checked.capabilities)


@pytest.mark.parametrize(("name", "row"), named(SWITCHES.rows).items())
def test_every_switch_of_the_table_is_decided_as_its_row_says(name: str, row: Row) -> None:
    wanted = f"--{name}={GOOD_VALUES[row.rule]}"
    decision, said = outcome({OPTIONS: {"args": [wanted]}}, name)
    assert decision is row.decision
    assert wanted in said if decision is Decision.ALLOW else row.why in said


@pytest.mark.parametrize(("name", "row"), [pair for pair in named(SWITCHES.rows).items() if pair[1].rule])
def test_a_switch_with_a_rule_is_refused_with_a_value_that_breaks_it(name: str, row: Row) -> None:
    decision, said = outcome({OPTIONS: {"args": [f"--{name}={BAD_VALUES[row.rule]}"]}}, name)
    assert (decision, f"--{name} with this value" in said) == (Decision.REFUSE, True)


@pytest.mark.parametrize(("name", "row"), named(PREFERENCES.rows).items())
@pytest.mark.parametrize("nested", [False, True])
def test_every_preference_of_the_table_is_decided_as_its_row_says(name: str, row: Row, nested: bool) -> None:
    value = GOOD_VALUES[row.rule] if row.rule else 1
    prefs: dict[str, object] = {name: value}
    if nested:
        first, _, rest = name.partition(".")
        prefs = {first: {rest: value}} if rest else prefs
    decision, said = outcome({OPTIONS: {"prefs": prefs}}, name)
    assert decision is row.decision
    assert name.rpartition(".")[2] in said if decision is Decision.ALLOW else row.why in said


@pytest.mark.parametrize(("name", "row"), [pair for pair in named(PREFERENCES.rows).items() if pair[1].rule])
def test_a_preference_with_a_rule_is_refused_with_a_value_that_breaks_it(name: str, row: Row) -> None:
    decision, said = outcome({OPTIONS: {"prefs": {name: BAD_VALUES[row.rule]}}}, name)
    assert (decision, f"{name!r} with this value" in said) == (Decision.REFUSE, True)


@pytest.mark.parametrize(
    ("name", "row"),
    [pair for pair in named(CAPABILITIES.rows).items() if pair[1].name not in CHECKED_ELSEWHERE],
)
def test_every_capability_that_is_not_passed_on_is_decided_as_its_row_says(name: str, row: Row) -> None:
    vendor, _, option = name.partition(".")
    wanted: dict[str, object] = {vendor: {option: "x"}} if vendor == OPTIONS else {name: "x"}
    decision, said = outcome(wanted, option or name)
    assert (decision, row.why in said) == (row.decision, True)


@pytest.mark.parametrize("table", [SWITCHES, PREFERENCES, CAPABILITIES])
def test_no_name_stands_in_a_table_twice(table: Table) -> None:
    assert [
        name for name, count in Counter(row.name.lower() for row in table.rows).items() if count > 1
    ] == []


@pytest.mark.parametrize(
    ("table", "rules"),
    [(SWITCHES, switches.RULES), (PREFERENCES, preferences.RULES), (CAPABILITIES, {})],
)
def test_every_row_says_why_and_has_a_rule_that_exists(table: Table, rules: dict[str, object]) -> None:
    for row in table.rows:
        assert row.why, row.name
        assert row.rule in {"", *rules}, row.name
        assert row.decision is Decision.ALLOW or not row.rule, row.name


def test_the_tables_hold_what_the_survey_promised() -> None:
    in_use = [row for row in SWITCHES.rows if row.seen]
    vendors = [row for row in CAPABILITIES.rows if ":" in row.name and not row.name.startswith("goog:")]
    assert (len(in_use) >= 150, len(PREFERENCES.rows) >= 60, len(vendors) >= 30) == (True, True, True)


def test_a_switch_that_is_passed_on_is_used_by_somebody_or_known_to_chrome() -> None:
    assert [
        row.name for row in SWITCHES.rows if row.decision is Decision.ALLOW and not (row.seen or row.chrome)
    ] == []


# The lists of the contract, by hand, so that no slip in a table goes unnoticed.
CONTRACT = {
    Decision.SET_ASIDE: """
        user-data-dir profile-directory remote-debugging-port remote-debugging-address remote-debugging-pipe
        remote-debugging-anything remote-allow-origins no-sandbox disable-setuid-sandbox crash-dumps-dir
        disk-cache-dir log-file test-type no-zygote enable-logging
        """,
    Decision.REFUSE: """
        renderer-cmd-prefix gpu-launcher utility-cmd-prefix browser-subprocess-path load-extension
        disable-extensions-except disable-seccomp-filter-sandbox disable-namespace-sandbox ssl-key-log-file
        log-net-log trace-startup trace-startup-file trace-anything print-to-pdf screenshot dump-dom
        enable-ui-devtools enable-tracing ppapi-plugin-launcher enable-blink-test-features
        """,
    Decision.ALLOW: """
        log-level start-fullscreen use-gl headless window-size user-agent proxy-server lang incognito
        disable-gpu disable-dev-shm-usage disable-web-security allow-pre-commit-input mute-audio
        disable-infobars ignore-certificate-errors enable-automation kiosk
        """,
}


@pytest.mark.parametrize("decision", CONTRACT)
def test_the_switches_of_the_contract_are_in_their_class(decision: Decision) -> None:
    for name in CONTRACT[decision].split():
        assert (name, outcome({OPTIONS: {"args": [f"--{name}"]}}, name)[0]) == (name, decision)
