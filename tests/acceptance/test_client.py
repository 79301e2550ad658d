"""The client for Python, against the real service."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from drover.client import (
    AtCapacity,
    Drover,
    InUse,
    InvalidRequest,
    LeaseLost,
    NotFound,
    NotPermitted,
    Unreachable,
)
from tests.acceptance.conftest import StartService
from tests.acceptance.faults import kill
from tests.acceptance.pages import Pages
from tests.acceptance.service import Service, expect
from tests.machine import free_port, is_living, wait_until


def test_a_session_is_leased_driven_and_given_back(service: Service, pages: Pages) -> None:
    with Drover(service.url).session(key="account-17", lease=60, holder="a test") as session:
        session.driver.get(pages.url("/form"))
        assert session.driver.current_url == pages.url("/form")
        assert service.listed()[session.id]["lease"]["holder"] == "a test"
        with pytest.raises(InUse):
            Drover(service.url).session(key="account-17", lease=1)
        assert session.screenshot().startswith(b"\x89PNG")
    assert service.listed()[session.id]["lease"] is None
    again = Drover(service.url).session(key="account-17")
    assert again.id == session.id
    assert again.driver.current_url == pages.url("/form")
    again.close(keep=True)
    assert session.id not in service.listed()


def test_a_lease_is_renewed_in_the_background(service: Service) -> None:
    with Drover(service.url).session(session_id="leased", lease=2) as session:
        begun = service.listed()["leased"]["lease"]["expires_at"]
        wait_until(lambda: service.listed()["leased"]["lease"]["expires_at"] > begun, "it is renewed")
        time.sleep(2)
        assert service.listed()["leased"]["in_use"]
        assert session.driver.session_id == "leased"
    assert not service.listed()["leased"]["in_use"]


@pytest.mark.exhaustive
def test_a_lease_that_was_lost_is_an_error(service: Service) -> None:
    with Drover(service.url).session(session_id="lost", lease=2) as session:
        expect(service.delete("/sessions/lost"))
        wait_until(lambda: session._lost, "the loss is noticed")
        with pytest.raises(LeaseLost, match="lost"):
            _ = session.driver


@pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")
def test_a_driver_object_lives_through_a_recovery(service: Service, pages: Pages) -> None:
    session = Drover(service.url).session(session_id="crash", url=pages.url("/form"))
    assert session.driver.current_url == pages.url("/form")
    kill(session.info["driver"]["pid"])
    assert session.driver.current_url == pages.url("/form")
    assert session.refresh()["recoveries"] == 1
    session.close()


def test_a_session_that_nobody_can_find_is_closed_at_the_end(service: Service) -> None:
    with Drover(service.url).session() as session:
        assert is_living(session.info["browser"]["pid"])
    assert session.id not in service.listed()


@pytest.mark.exhaustive
def test_a_request_waits_for_a_place_as_the_service_asks(start_service: StartService) -> None:
    service = start_service(max_sessions=1, queue_timeout=0.1)
    client = Drover(service.url)
    first = client.session(session_id="first", lease=600)
    with pytest.raises(AtCapacity) as refused:
        Drover(service.url, patience=0).session(session_id="second")
    assert refused.value.code == "at_capacity"
    assert refused.value.retry_after_s == 5
    threading.Timer(1.0, first.close).start()
    assert client.session(session_id="second").id == "second"


def test_an_error_has_a_class_and_says_what_is_wrong(service: Service) -> None:
    client = Drover(service.url)
    with pytest.raises(InvalidRequest) as invalid:
        client.session(idle_timeout="soon")
    assert "idle_timeout" in invalid.value.details
    with pytest.raises(InvalidRequest, match="unknown field"):
        client.session(urll="https://example.org/")
    with pytest.raises(NotFound) as missing:
        client.request("GET", "/sessions/never")
    assert missing.value.code == "session_not_found"
    assert missing.value.request_id
    with pytest.raises(Unreachable, match="does not answer"):
        Drover(f"http://127.0.0.1:{free_port()}").session()
    with pytest.raises(ValueError, match="no http"):
        Drover("localhost:5010")


def test_a_token_is_sent_by_the_client_and_by_its_driver(start_service: StartService) -> None:
    service = start_service(api_token="secret/with: signs@", adopt_grace=1)
    with pytest.raises(NotPermitted):
        Drover(service.url).session()
    with Drover(service.url, token="secret/with: signs@").session() as session:
        assert session.driver.window_handles


def test_a_login_travels(service: Service) -> None:
    client = Drover(service.url)
    cookie = {"name": "sid", "value": "1", "domain": "example.org", "path": "/", "expires": -1}
    client.put_login("from/the desktop", {"cookies": [cookie], "origins": []})
    assert client.login("from/the desktop")["cookies"][0]["value"] == "1"
    client.request("DELETE", "/keys/from%2Fthe%20desktop")


def test_the_client_needs_neither_selenium_nor_the_service_to_be_imported() -> None:
    script = "import sys, drover.client; print(*{m.partition('.')[0] for m in sys.modules})"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"selenium", "flask", "pydantic", "requests", "urllib3"} & set(found.stdout.split())
