"""The dashboard of one of several machines."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.acceptance.clusters import LOST_S, Nodes, die
from tests.acceptance.dashboards import APPEARANCES, OpenPage, assert_accessible, assert_fits, button, card
from tests.acceptance.service import Service
from tests.acceptance.service import expect as answered
from tests.machine import wait_until
from tests.postgres import MISSING, is_installed

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group(name="cluster"),
]


def test_it_shows_machines_and_where_each_session_is(
    nodes: Nodes, open_page: OpenPage, console_errors: list[str]
) -> None:
    here, there = nodes.start("here"), nodes.start("there")
    here.create(session_id="mine")
    there.create(session_id="theirs", key="account-17")
    for appearance in APPEARANCES.values():
        page = open_page(here, **appearance)
        expect(machine(page, "here (this one)")).to_contain_text("1 of 3")
        expect(machine(page, "there")).to_contain_text("Up")
        expect(card(page, "mine").locator("[data-part=node]")).to_have_text("here")
        expect(card(page, "theirs").locator("[data-part=node]")).to_have_text("there")
        assert_accessible(page)
        assert_fits(page)
    assert console_errors == []
    button(card(page, "theirs"), "Close theirs").click()
    button(page.get_by_role("dialog"), "Close the session").click()
    expect(card(page, "theirs")).to_have_count(0)
    assert own_sessions(there) == 0


def test_a_lost_machine_is_the_headline_and_looking_restores_nothing(
    nodes: Nodes, open_page: OpenPage
) -> None:
    watching, dying = nodes.start("watching"), nodes.start("fails")
    dying.create(session_id="waits", key="account-18")
    page = open_page(watching)
    expect(machine(page, "fails")).to_contain_text("Up")
    expect(card(page, "waits")).to_contain_text("Healthy")
    die(dying)
    expect(page.locator("#headline")).to_contain_text(re.compile("lost:.*fails"), timeout=1000 * LOST_S)
    expect(machine(page, "fails")).to_contain_text(re.compile("Lost.*1 to be restored", re.DOTALL))
    expect(card(page, "waits")).to_contain_text("Dead")
    assert watching.get("/sessions/waits/screenshot?recover=false").status_code == 503
    assert own_sessions(watching) == 0
    button(card(page, "waits"), "Recover waits").click()
    wait_until(lambda: own_sessions(watching) == 1, "it is restored here", LOST_S)
    expect(card(page, "waits").locator("[data-part=node]")).to_have_text("watching")


def machine(page: Page, name: str) -> Locator:
    """Return what is shown of a machine."""
    return page.locator(".node").filter(has=page.get_by_role("heading", name=name, exact=True))


def own_sessions(node: Service) -> int:
    """Return how many sessions a node has itself."""
    return int(answered(node.get("/sessions"))["active_sessions"])
