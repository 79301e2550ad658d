"""Every way in which a client ends its session ends it at once, and keeps the login of its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest
from selenium.webdriver.remote.webdriver import WebDriver
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.acceptance.clients import attached, chrome_options, new_session
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service
from tests.cases import first_or_all

ANSWER_S: Final = 30
End = Callable[[Service, WebDriver], None]


def told(address: str, method: str, **fields: object) -> Json:
    """Send one command over a WebSocket, expect the socket to close with it, and return the answer."""
    with connect(address, proxy=None) as socket:
        socket.send(json.dumps({"id": 5, "method": method, **fields}))
        # The loop ends with the socket, and raises if its close code is not 1000.
        answers: list[Json] = [message for text in socket if (message := json.loads(text)).get("id") == 5]
        return answers[0]


def over_bidi(command: str, **parameters: object) -> End:
    def end(_: Service, driver: WebDriver) -> None:
        answer = told(driver.capabilities["webSocketUrl"], command, params=parameters)
        assert answer["type"] == "success"

    return end


def over_cdp(_: Service, driver: WebDriver) -> None:
    assert told(driver.capabilities["se:cdp"], "Browser.close") == {"id": 5, "result": {}}


def over_a_page_socket(service: Service, driver: WebDriver) -> None:
    listed = service.get(f"/sessions/{driver.session_id}/json/list").json()
    address = next(one["webSocketDebuggerUrl"] for one in listed if one["type"] == "page")
    assert told(address, "Browser.close", params={}) == {"id": 5, "result": {}}


def through_chromedriver(_: Service, driver: WebDriver) -> None:
    assert driver.execute("executeCdpCommand", {"cmd": "Browser.close", "params": {}})["value"] == {}


ENDS: Final[dict[str, End]] = {
    "driver.quit": lambda _, driver: driver.quit(),
    "closing the last window": lambda _, driver: driver.close(),
    "session.end": over_bidi("session.end"),
    "browser.close": over_bidi("browser.close"),
    "Browser.close over BiDi": over_bidi("goog:cdp.sendCommand", method="Browser.close"),
    "Browser.close over CDP": over_cdp,
    "Browser.close on a page": over_a_page_socket,
    "Browser.close through ChromeDriver": through_chromedriver,
}


@pytest.mark.parametrize("name", first_or_all(ENDS))
def test_an_end_by_the_client_ends_the_session_and_keeps_its_login(
    service: Service, pages: Pages, name: str
) -> None:
    options = chrome_options(key="login")
    options.set_capability("webSocketUrl", True)
    with new_session(service, options) as driver:
        driver.get(pages.url())
        driver.add_cookie({"name": "login", "value": name.replace(" ", "-")})
        ENDS[name](service, driver)
        assert service.listed() == {}
        assert service.processes() == []
        assert service.get(f"/sessions/{driver.session_id}").status_code == 404
    with new_session(service, key="login") as driver:
        driver.get(pages.url())
        found = driver.get_cookie("login")
        assert found is not None
        assert found["value"] == name.replace(" ", "-")
        driver.quit()


def test_a_session_made_over_rest_ends_with_its_browser_and_its_other_sockets_are_told(
    service: Service, pages: Pages
) -> None:
    session = service.create(key="account")
    with attached(service, session["session_id"]) as driver, connect(session["cdp_url"], proxy=None) as other:
        driver.get(pages.url())
        assert told(session["cdp_url"], "Browser.close") == {"id": 5, "result": {}}
        with pytest.raises(ConnectionClosed, match="The session has ended"):
            other.recv(timeout=ANSWER_S)
    assert service.listed() == {}
