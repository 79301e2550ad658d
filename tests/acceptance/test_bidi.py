"""BiDi outlives its ChromeDriver: pages, subscriptions and ids stay, and the address stays valid."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from selenium.webdriver.remote.webdriver import WebDriver
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.acceptance import faults
from tests.acceptance.clients import chrome_options, new_session
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

ANSWER_S: Final = 60
SILENT_S: Final = 0.5


class Bidi:
    """A plain BiDi client, which keeps the events that it receives."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Json] = []
        self._numbers = itertools.count(1)

    def call(self, method: str, **parameters: object) -> Json:
        """Send one command and return its answer."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message: Json = json.loads(self.socket.recv(timeout=ANSWER_S))
            if message.get("id") == number:
                return message
            self.events.append(message)

    def result(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        """Send one command and return its result."""
        answer = self.call(method, **parameters)
        assert answer["type"] == "success", answer
        return answer["result"]

    def log(self, context: str, text: str) -> None:
        """Have a page write a line to its console."""
        self.result(
            "script.evaluate",
            expression=f"console.log({text!r})",
            target={"context": context},
            awaitPromise=False,
        )

    def heard(self) -> list[str]:
        """Return the console lines that arrived, after a moment in which more may come."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.events.append(json.loads(self.socket.recv(timeout=SILENT_S)))
        logs = [one["params"]["text"] for one in self.events if one["method"] == "log.entryAdded"]
        self.events = []
        return logs


@contextlib.contextmanager
def opened(address: str) -> Iterator[Bidi]:
    with connect(address, proxy=None, max_size=None) as socket:
        yield Bidi(socket)


@contextlib.contextmanager
def bidi_session(service: Service) -> Iterator[tuple[WebDriver, str]]:
    """Open a session with BiDi; yield its driver object and its BiDi address."""
    options = chrome_options()
    options.set_capability("webSocketUrl", True)
    with new_session(service, options) as driver:
        yield driver, driver.capabilities["webSocketUrl"]
        driver.quit()


def kill_driver(service: Service, driver: WebDriver) -> None:
    faults.kill(service.listed()[str(driver.session_id)]["driver"]["pid"])


def typed_page(driver: WebDriver, pages: Pages) -> str:
    """Open a page, type into it, and return its handle."""
    driver.get(pages.url("/form"))
    driver.execute_script("document.querySelector('#name').value = 'typed'; window.kept = 5")
    return driver.current_window_handle


KEPT: Final = "return [document.querySelector('#name').value, window.kept]"


@pytest.mark.exhaustive
def test_a_client_that_only_listens_is_told_to_reconnect_and_goes_on_with_its_subscriptions(
    service: Service, pages: Pages
) -> None:
    with bidi_session(service) as (driver, address):
        first = typed_page(driver, pages)
        driver.switch_to.new_window("tab")
        driver.get(pages.url("/red"))
        other = driver.current_window_handle
        driver.switch_to.window(first)
        with opened(address) as client:
            known = client.result("session.subscribe", events=["log.entryAdded"])["subscription"]
            client.log(first, "before")
            assert client.heard() == ["before"]
            kill_driver(service, driver)
            with pytest.raises(ConnectionClosed) as closed:
                client.socket.recv(timeout=ANSWER_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        with opened(address) as client:
            client.log(first, "after")
            assert client.heard() == ["after"]
            tree = client.result("browsingContext.getTree")["contexts"]
            assert {one["context"] for one in tree} == {first, other}
            client.result("session.unsubscribe", subscriptions=[known])
            client.log(first, "unsubscribed")
            assert client.heard() == []
        assert driver.execute_script(KEPT) == ["typed", 5]
        assert set(driver.window_handles) == {first, other}
        driver.switch_to.window(other)
        assert driver.current_url == pages.url("/red")
        recovery = service.listed()[str(driver.session_id)]["last_recovery"]
        assert (recovery["method"], recovery["lost"]) == ("reattached", [])


@pytest.mark.exhaustive
def test_a_client_that_sends_commands_goes_on_over_its_open_socket(service: Service, pages: Pages) -> None:
    with bidi_session(service) as (driver, address), opened(address) as client:
        page = typed_page(driver, pages)
        client.result("session.subscribe", events=["log.entryAdded"])
        for round_number in range(2):
            kill_driver(service, driver)
            client.log(page, f"round {round_number}")
            assert client.heard() == [f"round {round_number}"]
        assert driver.execute_script(KEPT) == ["typed", 5]


@pytest.mark.exhaustive
def test_a_command_in_flight_gets_an_error_and_is_not_repeated(service: Service, pages: Pages) -> None:
    with bidi_session(service) as (driver, address), opened(address) as client:
        page = typed_page(driver, pages)
        client.socket.send(
            json.dumps(
                {
                    "id": 900,
                    "method": "script.evaluate",
                    "params": {
                        "expression": "window.runs = (window.runs || 0) + 1; new Promise(() => 0)",
                        "target": {"context": page},
                        "awaitPromise": True,
                    },
                }
            )
        )
        client.log(page, "the command before this one runs")
        kill_driver(service, driver)
        error = json.loads(client.socket.recv(timeout=ANSWER_S))
        assert (error["id"], error["type"], error["error"]) == (900, "error", "unknown error")
        assert client.call("session.status")["type"] == "success"
        assert driver.execute_script("return window.runs") == 1


@pytest.mark.exhaustive
def test_two_clients_keep_their_own_subscriptions(service: Service, pages: Pages) -> None:
    with bidi_session(service) as (driver, address), opened(address) as one, opened(address) as other:
        page = typed_page(driver, pages)
        one.result("session.subscribe", events=["log.entryAdded"])
        kill_driver(service, driver)
        other.log(page, "for one")
        one.call("session.status")
        other.log(page, "again")
        assert one.heard()[-1:] == ["again"]
        assert other.heard() == []


def test_a_browser_that_died_is_restored_with_the_subscriptions(service: Service, pages: Pages) -> None:
    with bidi_session(service) as (driver, address), opened(address) as client:
        typed_page(driver, pages)
        client.result("session.subscribe", events=["log.entryAdded"])
        faults.kill(service.listed()[str(driver.session_id)]["browser"]["pid"])
        page = client.result("browsingContext.getTree")["contexts"][0]["context"]
        client.log(page, "restored")
        assert client.heard() == ["restored"]
