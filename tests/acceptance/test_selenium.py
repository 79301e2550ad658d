"""Selenium's own client over WebDriver: sessions start, end, are shared and wait in the queue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import requests
from selenium.common.exceptions import (
    InvalidSessionIdException,
    NoSuchElementException,
    SessionNotCreatedException,
    WebDriverException,
)
from selenium.webdriver import ChromeOptions, FirefoxOptions
from selenium.webdriver.common.by import By

from tests.acceptance.clients import RawCommand, attached, chrome_options, new_session
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Service, expect
from tests.machine import run_both, wait_until

MANY = 70


@pytest.fixture
def idle_session(service: Service) -> str:
    service.create(session_id="job")
    return "job"


@contextlib.contextmanager
def busy(service: Service, gate: Gate) -> Iterator[RawCommand]:
    """Keep session `job` busy with a page that loads until the block ends."""
    command = RawCommand(service, "POST", "/wd/hub/session/job/url", {"url": gate.url}).send()
    with gate.while_it_loads():
        yield command


def refusal(answer: requests.Response) -> tuple[int, str, str]:
    """Return status, error code and message of a refusal in the standard's shape."""
    assert answer.headers["Content-Type"].startswith("application/json")
    value = answer.json()["value"]
    assert value["stacktrace"] == ""
    return answer.status_code, value["error"], value["message"]


def test_a_program_opens_drives_and_quits_a_session_without_options(service: Service, pages: Pages) -> None:
    with new_session(service) as driver:
        assert driver.session_id in service.listed()
        assert driver.capabilities["browserName"].startswith("chrom")
        cdp = f"ws://localhost:{service.port}/sessions/{driver.session_id}/cdp"
        assert driver.capabilities["se:cdp"] == cdp
        driver.get(pages.url("/form"))
        assert driver.title == "Form"
        driver.find_element(By.ID, "name").send_keys("Grace")
        assert driver.find_element(By.ID, "name").get_property("value") == "Grace"
        with pytest.raises(NoSuchElementException):
            driver.find_element(By.ID, "missing")
        driver.quit()
    assert service.listed() == {}


def test_chrome_options_take_effect(service: Service) -> None:
    options = chrome_options()
    options.add_argument("--user-agent=Agent Smith")
    options.page_load_strategy = "eager"
    options.timeouts = {"script": 4321}
    with new_session(service, options) as driver:
        assert driver.execute_script("return navigator.userAgent") == "Agent Smith"
        assert driver.capabilities["pageLoadStrategy"] == "eager"
        assert driver.timeouts.script == 4.321


# Selenium uses what it deprecates itself if it gets several options.
@pytest.mark.filterwarnings("ignore:setting remote_server_addr:DeprecationWarning")
def test_the_first_available_browser_of_several_is_used(service: Service) -> None:
    with new_session(service, [FirefoxOptions(), ChromeOptions()]) as driver:
        assert driver.capabilities["browserName"].startswith("chrom")


@pytest.mark.parametrize(
    "wanted",
    [
        {"alwaysMatch": {"browserName": "firefox"}},
        {"firstMatch": [{"browserName": "firefox"}, {"browserName": "safari"}]},
        {"alwaysMatch": {"platformName": "plan9"}},
    ],
    ids=str,
)
def test_a_browser_that_is_not_available_is_refused(service: Service, wanted: dict[str, object]) -> None:
    status, word, message = refusal(service.post("/wd/hub/session", json={"capabilities": wanted}))
    assert (status, word) == (400, "session not created")
    assert "this service" in message
    assert service.listed() == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"desiredCapabilities": {"browserName": "chrome"}},
        {"capabilities": 1},
        {"capabilities": {"firstMatch": []}},
        {"capabilities": {"firstMatch": {}}},
        {"capabilities": {"alwaysMatch": []}},
        {
            "capabilities": {
                "alwaysMatch": {"browserName": "chrome"},
                "firstMatch": [{"browserName": "chrome"}],
            }
        },
        {"capabilities": {"alwaysMatch": {"timeouts": {"script": -1}}}},
        {"capabilities": {"alwaysMatch": {"pageLoadStrategy": "never"}}},
        {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": "yes"}}},
        {"capabilities": {"alwaysMatch": {"drover:options": {"sesion_id": "typing-error"}}}},
        {"capabilities": {"alwaysMatch": {"drover:options": {"session_id": "../up"}}}},
    ],
    ids=str,
)
def test_malformed_requests_are_invalid_arguments(service: Service, body: dict[str, object]) -> None:
    status, word, _ = refusal(service.post("/wd/hub/session", json=body))
    assert (status, word) == (400, "invalid argument")
    assert service.listed() == {}


def test_a_forbidden_capability_gets_the_w3c_error_with_its_name(service: Service) -> None:
    options = ChromeOptions()
    options.add_argument("--renderer-cmd-prefix=/bin/sh")
    with (
        pytest.raises(SessionNotCreatedException, match="renderer-cmd-prefix"),
        new_session(service, options),
    ):
        pass
    status, word, _ = refusal(
        service.post("/wd/hub/session", json={"capabilities": {"alwaysMatch": options.to_capabilities()}})
    )
    assert (status, word) == (403, "session not created")
    assert service.listed() == {}


def test_drover_options_are_the_same_as_in_rest(service: Service, pages: Pages) -> None:
    options: dict[str, Any] = {
        "session_id": "mine",
        "key": "account-17",
        "lease": {"ttl": 60, "holder": "selenium"},
        "idle_timeout": 77,
        "url": pages.url("/red"),
    }
    with new_session(service, **options) as driver:
        assert driver.session_id == "mine"
        assert driver.title == "Red"
        session = service.report("mine")
        assert (session["key"], session["idle_timeout"]) == ("account-17", 77)
        assert session["lease"]["holder"] == "selenium"
        assert session["in_use"] is True


@pytest.mark.exhaustive
def test_quit_keeps_the_login_of_a_key_and_only_a_rest_delete_forgets_it(
    service: Service, pages: Pages
) -> None:
    def cookie(value: str | None) -> str:
        with new_session(service, key="login") as driver:
            driver.get(pages.url())
            if value is not None:
                driver.add_cookie({"name": "login", "value": value})
            found = driver.get_cookie("login")
            driver.quit()
        return str(found["value"]) if found else ""

    assert cookie("one") == "one"
    assert cookie(None) == "one"
    session = service.create(key="login")
    kept = service.delete(f"/sessions/{session['session_id']}?keep=true")
    assert kept.status_code == 200
    assert cookie(None) == "one"
    session = service.create(key="login")
    assert service.delete(f"/sessions/{session['session_id']}").status_code == 200
    assert cookie(None) == ""


def test_keeping_needs_a_key(service: Service) -> None:
    session = service.create()
    refused = service.delete(f"/sessions/{session['session_id']}?keep=true")
    assert refused.status_code == 400
    assert "key" in refused.json()["error"]


def test_the_same_key_leads_two_programs_to_one_session(service: Service, pages: Pages) -> None:
    with new_session(service, key="shared") as one:
        one.get(pages.url("/form"))
        with new_session(service, key="shared") as other:
            assert other.session_id == one.session_id
            assert other.title == "Form"
    assert len(service.listed()) == 1


def test_a_leased_session_is_not_given_to_another_program(service: Service) -> None:
    service.create(session_id="held", lease={"ttl": 60, "holder": "another-team"})
    with (
        pytest.raises(SessionNotCreatedException, match="another-team"),
        new_session(service, session_id="held"),
    ):
        pass


def test_a_session_created_over_rest_can_be_driven_and_ended_by_its_id(
    service: Service, pages: Pages
) -> None:
    service.create(session_id="rest")
    with attached(service, "rest") as driver:
        driver.get(pages.url("/form"))
        assert driver.execute_script("return document.title") == "Form"
        assert service.report("rest")["current_url"] == pages.url("/form")
        driver.quit()
        with pytest.raises(InvalidSessionIdException):
            _ = driver.title
    assert service.listed() == {}


def test_an_unknown_session_gets_the_w3c_error(service: Service) -> None:
    for method, path in (("GET", "/url"), ("POST", "/url"), ("GET", "/se/files")):
        answer = service.request(method, f"/wd/hub/session/unknown{path}", json={"url": "about:blank"})
        assert refusal(answer)[:2] == (404, "invalid session id"), (method, path)


def test_answers_contain_our_session_id_and_never_chromedrivers(
    service: Service,
) -> None:
    with new_session(service) as driver:
        own = service.listed()[str(driver.session_id)]["driver"]["session_id"]
        assert driver.session_id != own
        assert own not in str(driver.capabilities)
        answer = service.get(f"/wd/hub/session/{driver.session_id}/no/such/command")
        assert answer.json()["value"]["error"] == "unknown command"
        assert own not in answer.text


def test_closing_the_last_window_ends_a_webdriver_session(service: Service) -> None:
    with new_session(service) as driver:
        driver.switch_to.new_window("tab")
        driver.close()
        assert driver.session_id in service.listed()
        driver.switch_to.window(driver.window_handles[0])
        driver.close()
        assert service.listed() == {}
        assert service.processes() == []
        driver.quit()


def test_a_command_after_the_last_window_gets_invalid_session_id(service: Service) -> None:
    with new_session(service) as driver:
        driver.close()
        with pytest.raises(InvalidSessionIdException):
            _ = driver.title


def test_closing_the_last_window_of_a_rest_session_recovers_it(
    service: Service, idle_session: str, pages: Pages
) -> None:
    with attached(service, idle_session) as driver:
        driver.get(pages.url())
        driver.close()
        assert idle_session in service.listed()
        driver.get(pages.url("/form"))
        assert driver.title == "Form"


def test_a_client_that_disconnects_during_a_slow_page_does_not_block_the_session(
    service: Service, idle_session: str, slow_page: Gate
) -> None:
    with busy(service, slow_page) as loading:
        loading.hang_up()
        late = RawCommand(service, "GET", f"/wd/hub/session/{idle_session}/title").send()
    assert late.answer() == (200, "Slow")
    wait_until(lambda: not service.report(idle_session)["in_use"], "no client uses the session")


def test_a_queued_command_whose_client_disconnected_is_not_run(
    service: Service, idle_session: str, pages: Pages, slow_page: Gate
) -> None:
    with busy(service, slow_page) as loading:
        waits = RawCommand(
            service, "POST", f"/wd/hub/session/{idle_session}/url", {"url": pages.url("/?left")}
        )
        waits.send().hang_up()
    assert loading.answer()[0] == 200
    assert RawCommand(service, "GET", f"/wd/hub/session/{idle_session}/title").send().answer() == (
        200,
        "Slow",
    )
    assert "/?left" not in pages.visits


def test_commands_of_one_session_run_one_at_a_time_in_order_of_arrival(
    service: Service, idle_session: str, slow_page: Gate
) -> None:
    note = (
        "const before = JSON.parse(name || '[]'); before.push(arguments[0]); name = JSON.stringify(before);"
    )
    with busy(service, slow_page) as loading:
        path = f"/wd/hub/session/{idle_session}/execute/sync"
        waiting = [
            RawCommand(service, "POST", path, {"script": note, "args": [number]}).send()
            for number in range(8)
        ]
    assert loading.answer()[0] == 200
    assert {command.answer()[0] for command in waiting} == {200}
    ran = RawCommand(service, "POST", path, {"script": "return JSON.parse(name)", "args": []}).send()
    assert ran.answer() == (200, list(range(8)))


def test_a_slow_page_blocks_neither_other_sessions_nor_threads(
    service: Service, idle_session: str, slow_page: Gate
) -> None:
    service.create(session_id="other")
    with busy(service, slow_page) as loading:
        waiting = [
            RawCommand(service, "GET", f"/wd/hub/session/{idle_session}/title").send() for _ in range(MANY)
        ]
        with attached(service, "other") as driver:
            assert driver.title == ""
        assert service.listed()[idle_session]["in_use"] is True
        expect(service.get("/sessions/other", timeout=20))
        expect(service.get("/processes", timeout=20))
        with new_session(service) as driver:
            driver.quit()
        assert slow_page.released.is_set() is False
    assert loading.answer()[0] == 200
    assert [command.answer() for command in waiting] == [(200, "Slow")] * MANY


def test_one_driver_object_in_many_threads_gets_the_right_answers(
    service: Service, idle_session: str
) -> None:
    def echo(number: int) -> object:
        with attached(service, idle_session) as driver:
            return [
                driver.execute_script("return arguments[0]", number * 1000 + one) == number * 1000 + one
                for one in range(20)
            ]

    first, second = run_both(partial(echo, 1), partial(echo, 2))
    assert first == second == [True] * 20


def test_non_standard_commands_are_unknown(service: Service) -> None:
    for method, path, word, status in [
        ("GET", "/wd/hub", "unknown command", 404),
        ("POST", "/wd/hub/nothing", "unknown command", 404),
        ("GET", "/wd/hub/session", "unknown method", 405),
        ("POST", "/wd/hub/status", "unknown method", 405),
        ("PUT", "/wd/hub/session/x/url", "unknown method", 405),
        ("PATCH", "/wd/hub/session/x", "unknown method", 405),
    ]:
        assert refusal(service.request(method, path))[:2] == (status, word), (method, path)


def test_the_remote_end_reports_ready(service: Service) -> None:
    assert service.get("/wd/hub/status").json()["value"]["ready"] is True


def test_a_script_error_is_passed_to_the_client(service: Service, idle_session: str) -> None:
    with attached(service, idle_session) as driver:
        for script in ("throw new Error('invalid session id')", "throw new Error('tab crashed')"):
            with pytest.raises(WebDriverException):
                driver.execute_script(script)
    assert service.report(idle_session)["recoveries"] == 0
