"""ChromeDriver dies while a dialog is open or a script runs: the browser and its pages are kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from typing import Final

import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Json, Service, assert_no_trace, expect, running
from tests.cases import first_or_all
from tests.machine import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")

COMPUTES_S: Final = 12
"""Longer than an attempt to attach was ever allowed to take."""
OPENERS: Final = {
    "alert": "alert('look here')",
    "confirm": "answer = confirm('really?')",
    "prompt": "answer = prompt('who?', 'nobody')",
}
REPLIES: Final = {
    "dismiss": {"alert": "none yet", "confirm": False, "prompt": None},
    "accept": {"alert": "none yet", "confirm": True, "prompt": "nobody"},
}


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service in which only a client's access recovers a session."""
    with running(health_timeout=1, watch_interval=0) as service:
        yield service


def create(service: Service, pages: Pages, behavior: object = "ignore") -> tuple[Json, Driver]:
    """Create a session with a half-filled form, whose open dialogs ChromeDriver treats in this way."""
    session = service.create(session_id="session", capabilities={"unhandledPromptBehavior": behavior})
    client = Driver(session)
    client.open(pages.url("/form"))
    client.run("window.answer = 'none yet'; document.getElementById('name').value = 'half a form'")
    return session, client


def open_dialog(client: Driver, script: str) -> None:
    """Have a script of the page open a dialog, and wait until it is open."""
    client.run(f"setTimeout(() => {{ {script} }}, 50)")
    wait_until(lambda: client.alert_text() is not None, "the dialog is open")


def recover(service: Service, before: Json, lost: set[str], perhaps: Collection[str] = ()) -> Driver:
    """Kill ChromeDriver; assert that the browser gets a new one and what that cost, and return a client."""
    kill(before["driver"]["pid"])
    answer = expect(service.get("/sessions/session"))
    assert answer["recovery"]["method"] == "reattached"
    assert lost <= set(answer["recovery"]["lost"]) <= lost | set(perhaps)
    assert answer["session"]["last_recovery"] == answer["recovery"]
    assert answer["session"]["browser"] == before["browser"]
    return Driver(answer["session"])


def assert_form_is_kept(client: Driver) -> None:
    """Assert that the page is still the one that was filled in."""
    assert client.run("return document.getElementById('name').value") == "half a form"


@pytest.mark.parametrize("kind", OPENERS)
@pytest.mark.parametrize("reply", first_or_all(REPLIES))
def test_an_open_dialog_is_answered_as_the_session_asks(
    service: Service, pages: Pages, kind: str, reply: str
) -> None:
    # `ignore` for all others keeps the dialog open until ChromeDriver is killed.
    behavior = {"default": "ignore", kind: "accept"} if reply == "accept" else "ignore"
    before, client = create(service, pages, behavior)
    open_dialog(client, OPENERS[kind])
    client = recover(service, before, {f"dialog:{kind}"})
    assert client.run("return window.answer") == REPLIES[reply][kind]
    assert_form_is_kept(client)


def test_a_page_is_never_left_by_a_recovery(service: Service, pages: Pages) -> None:
    before, client = create(service, pages, {"beforeUnload": "ignore", "default": "accept"})
    client.run("addEventListener('beforeunload', event => event.preventDefault())")
    client.type("name", " and more")
    client.run(f"setTimeout(() => {{ location.href = '{pages.url('/red')}' }}, 500)")
    # A living ChromeDriver would accept the dialog at its next command, whatever the session asks for.
    kill(before["driver"]["pid"])
    time.sleep(1)
    client = recover(service, before, {"dialog:beforeunload"})
    assert client.address() == pages.url("/form")
    assert client.run("return document.getElementById('name').value") == "half a form and more"


def test_a_dialog_in_another_tab_is_answered(service: Service, pages: Pages) -> None:
    before, client = create(service, pages)
    front = client.new_window()
    open_dialog(client, OPENERS["confirm"])
    client.switch_to(front)
    client.open(pages.url("/red"))
    client = recover(service, before, {"dialog:confirm"})
    assert client.address() == pages.url("/red")
    client.switch_to(next(handle for handle in client.windows() if handle != front))
    assert client.run("return window.answer") is False
    assert_form_is_kept(client)


@pytest.mark.parametrize("host", first_or_all(["127.0.0.1", "localhost"]))
def test_a_dialog_of_a_frame_is_answered(service: Service, pages: Pages, host: str) -> None:
    before, client = create(service, pages)
    # A frame of another site runs in a process of its own.
    address = pages.url("/red").replace("127.0.0.1", host)
    client.run(
        "return new Promise(done => { const frame = document.createElement('iframe');"
        "frame.onload = done; frame.src = arguments[0]; document.body.append(frame) })",
        address,
    )
    client.enter_frame("iframe")
    open_dialog(client, OPENERS["prompt"])
    client = recover(service, before, {"dialog:prompt"})
    assert_form_is_kept(client)
    client.enter_frame("iframe")
    assert client.run("return window.answer") is None


@pytest.mark.parametrize("place", ["popup", "opener"])
@pytest.mark.exhaustive
def test_a_dialog_in_a_popup_or_in_its_opener_is_answered(service: Service, pages: Pages, place: str) -> None:
    before, client = create(service, pages)
    script = "window.popup.alert('look here')" if place == "popup" else "alert('look here')"
    client.run("window.popup = open(arguments[0])", pages.url("/red"))
    client.run(f"setTimeout(() => {{ {script} }}, 800)")
    time.sleep(1.5)
    client = recover(service, before, {"dialog:alert"})
    assert len(client.windows()) == 2
    client.switch_to(next(handle for handle in client.windows()))
    assert client.run("return 6 * 7") == 42


def test_dialogs_in_several_tabs_are_all_answered(service: Service, pages: Pages) -> None:
    before, client = create(service, pages)
    windows = [client.new_window() for _ in OPENERS]
    for window, script in zip(windows, OPENERS.values(), strict=True):
        client.switch_to(window)
        open_dialog(client, script)
    recover(service, before, {f"dialog:{kind}" for kind in OPENERS})


@pytest.mark.exhaustive
def test_a_page_whose_script_runs_is_waited_for(service: Service, pages: Pages) -> None:
    before, client = create(service, pages)
    client.run(
        "setTimeout(() => { const over = Date.now() + arguments[0]; while (Date.now() < over); }, 300)",
        1000 * COMPUTES_S,
    )
    time.sleep(0.5)
    begun = time.monotonic()
    client = recover(service, before, set())
    assert time.monotonic() - begun > COMPUTES_S - 2
    assert_form_is_kept(client)


@pytest.mark.exhaustive
def test_a_background_tab_whose_script_runs_is_waited_for(service: Service, pages: Pages) -> None:
    before, client = create(service, pages)
    front = client.new_window()
    client.run(
        "setTimeout(() => { const over = Date.now() + arguments[0]; while (Date.now() < over); }, 500)", 4000
    )
    client.switch_to(front)
    client.open(pages.url("/red"))
    client = recover(service, before, set())
    assert client.address() == pages.url("/red")
    assert_no_trace(service)


@pytest.mark.parametrize(
    "script", first_or_all(["for (;;) alert('again')", "setInterval(() => alert('again'), 1)"])
)
def test_a_page_that_opens_dialogs_without_end_is_left_and_the_others_are_kept(
    service: Service, pages: Pages, script: str
) -> None:
    before, client = create(service, pages)
    front = client.new_window()
    open_dialog(client, script)
    client.switch_to(front)
    client.open(pages.url("/red"))
    client = recover(service, before, {"dialog:alert"}, perhaps={f"page:{pages.url('/form')}"})
    assert client.address() == pages.url("/red")
    assert len(client.windows()) == 2


@pytest.mark.parametrize("host", first_or_all(["127.0.0.1", "localhost"]))
def test_a_page_whose_next_page_is_awaited_from_a_slow_server_keeps_its_form(
    service: Service, pages: Pages, slow_page: Gate, host: str
) -> None:
    before, client = create(service, pages)
    address = slow_page.url.replace("127.0.0.1", host)
    client.run("const address = arguments[0]; setTimeout(() => { location = address; }, 50)", address)
    slow_page.wait_until_requested()
    client = recover(service, before, {f"load:{pages.url('/form')}"})
    assert_form_is_kept(client)
