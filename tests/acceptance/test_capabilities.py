"""What becomes of capabilities, with real Chrome: real scripts run, nothing dangerous passes."""

from __future__ import annotations

import base64
import random
import re
from typing import Any, Final

import psutil
import pytest
import requests

from tests.acceptance.cleanups import clean, main_pids, verdicts
from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import Json, Service, expect, expect_error, folder_of, pids_of
from tests.machine import living, wait_until
from tests.unit.examples import packed_extension

OPTIONS: Final = "goog:chromeOptions"
SCRIPT: Final = b"document.documentElement.dataset.extension = 'loaded'"
# What public scripts pass, from several tools at once.
OF_REAL_SCRIPTS: Final = """
    --headless=new --no-sandbox --disable-dev-shm-usage --disable-gpu --window-size=1280,720 --start-maximized
    --start-fullscreen --log-level=3 --user-data-dir=/home/x/profile --profile-directory=Default --no-zygote
    --use-gl=swiftshader --test-type --remote-allow-origins=* --remote-debugging-port=9222 --v=1
    --enable-logging --allow-pre-commit-input --disable-infobars --disable-notifications --lang=en
    --disable-blink-features=AutomationControlled --disable-features=Translate,IsolateOrigins,site-per-process
    --enable-features=NetworkService,NetworkServiceInProcess --js-flags=--max-old-space-size=512
    --disable-site-isolation-trials --disable-extensions --disk-cache-dir=/home/x/cache
    --single-process --disable-setuid-sandbox --incognito --mute-audio --hide-scrollbars --some-switch=1
    --force-color-profile=srgb --simulate-outdated-no-au='Tue' --disable-autofill-keyboard-accessory-view[8]
    """


def chrome(**options: object) -> dict[str, object]:
    """Return the fields of a session with these options of Chrome."""
    return {"capabilities": {OPTIONS: options}}


def command_line(session: Json) -> list[str]:
    return psutil.Process(session["browser"]["pid"]).cmdline()


def ignored(session: Json) -> list[str]:
    return [one["name"] for one in session["ignored"]]


def new_session(service: Service, always: dict[str, object]) -> requests.Response:
    return service.post("/wd/hub/session", json={"capabilities": {"alwaysMatch": always}})


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"debuggerAddress": "127.0.0.1:9222"}, "debuggerAddress"),
        ({"minidumpPath": "/var"}, "minidumpPath"),
        ({"args": ["--renderer-cmd-prefix=/bin/sh"]}, "renderer-cmd-prefix"),
        ({"args": ["renderer-cmd-prefix=/bin/sh"]}, "renderer-cmd-prefix"),
        ({"args": ["-renderer-cmd-prefix=/bin/sh"]}, "renderer-cmd-prefix"),
        ({"args": ["--window-size=9,9", "--gpu-launcher=/bin/sh"]}, "gpu-launcher"),
        ({"args": ["--load-extension=/home/x"]}, "load-extension"),
        ({"args": ["--log-net-log=/home/x"]}, "log-net-log"),
        ({"args": ["--disable-seccomp-filter-sandbox"]}, "disable-seccomp-filter-sandbox"),
        ({"args": ["--js-flags=--prof"]}, "--prof"),
        ({"prefs": {"download.extensions_to_open": "sh"}}, "download.extensions_to_open"),
    ],
    ids=str,
)
def test_a_dangerous_capability_is_refused_by_name(
    service: Service, options: dict[str, object], name: str
) -> None:
    response = service.post("/sessions", json=chrome(**options))
    assert name in expect_error(response, 403, "forbidden_capability")
    assert service.listed() == {}


def test_real_scripts_start_a_session_that_says_what_was_set_aside(service: Service, pages: Pages) -> None:
    since = service.mark()
    session = service.create(
        capabilities={
            "browserName": "Chrome",
            "platformName": "ANY",
            "selenoid:options": {"enableVNC": True},
            "se:recordVideo": True,
            "appium:platformVersion": "",
            "cloud:options": {"binary": "/home/x/chrome"},
            "webauthn:virtualAuthenticators": True,
            "fedcm:accounts": True,
            OPTIONS: {
                "args": OF_REAL_SCRIPTS.split(),
                "w3c": True,
                "detach": True,
                "binary": "/home/x/chrome",
                "useAutomationExtension": False,
                "excludeSwitches": ["enable-automation", "enable-logging", "test-type"],
                "prefs": {
                    "download.default_directory": "/home/x",
                    "profile.default_content_setting_values.notifications": 2,
                    "credentials_enable_service": False,
                },
            },
        }
    )
    assert {
        "selenoid:options",
        "se:recordVideo",
        "appium:platformVersion",
        "cloud:options",
        "w3c",
        "detach",
        "binary",
        "no-sandbox",
        "user-data-dir",
        "remote-debugging-port",
        "some-switch",
        "download.default_directory",
        "excludeSwitches: test-type",
    } <= set(ignored(session))
    switches = [argument.partition("=")[0] for argument in command_line(session)]
    assert {"--log-level", "--start-fullscreen", "--incognito", "--js-flags"} <= set(switches)
    assert not {"--enable-automation", "--enable-logging", "--no-zygote", "--some-switch"} & set(switches)
    assert "--test-type=webdriver" in command_line(session)
    driver = Driver(session)
    driver.open(pages.url("/form"))
    assert driver.run("return document.title") == "Form"
    assert "no-sandbox" in service.wait_for_log("capabilities set aside", since)
    assert ignored(service.report(session["session_id"])) == ignored(session)


def test_chrome_keeps_no_log_file(service: Service, pages: Pages) -> None:
    session = service.create()
    driver = Driver(session)
    driver.open(pages.url())
    driver.run("for (let i = 0; i < 1000; i++) console.log('a line that would be written to a file')")
    [folder] = service.session_folders()
    assert list(folder.rglob("chrome_debug.log")) == []


def test_a_value_is_passed_on_as_it_is_and_never_read_as_another_switch(service: Service) -> None:
    other = service.create(session_id="other")
    [profile] = [one for one in command_line(other) if one.startswith("--user-data-dir=")]
    agent = f"Smith {profile} --remote-debugging-port=1\n--no-sandbox\t'\""
    session = service.create(session_id="smith", **chrome(args=[f"--user-agent={agent}"]))
    assert f"--user-agent={agent}" in command_line(session)
    assert (ignored(session), len([one for one in command_line(session) if one == profile])) == ([], 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("left", ["its browser", "nothing"])
def test_a_value_that_names_another_sessions_folder_leaves_each_session_its_own_processes(
    service: Service, left: str
) -> None:
    victim = service.create(session_id="victim")
    folder = folder_of(victim)
    agent = f"Foo --user-data-dir={folder}/p --log-path={folder}/chromedriver.log --type=renderer"
    smith = service.create(session_id="smith", **chrome(args=[f"--user-agent={agent}"]))
    if left == "nothing":
        kill(victim["browser"]["pid"], victim["driver"]["pid"])
    assert verdicts(service)[smith["browser"]["pid"]]["session_id"] == "smith"
    expect(service.delete("/sessions/victim"))
    assert not folder.exists()
    clean(service)
    assert living(main_pids(smith)) == main_pids(smith)
    assert Driver(smith).run("return navigator.userAgent") == agent
    own = pids_of(smith)
    expect(service.delete("/sessions/smith"))
    assert living(own) == set()


@pytest.mark.parametrize(
    ("capabilities", "words"),
    [
        ({"platformName": "windows" if psutil.LINUX else "linux"}, "platformName"),
        ({OPTIONS: {"args": ["--user-agent=" + 200_000 * "x"]}}, "but not with these"),
        ({OPTIONS: {"args": ["--headless=old", "--window-size=99999999,99999999"]}}, "but not with these"),
        ({OPTIONS: {"mobileEmulation": {"deviceName": "Nokia 3310"}}}, "'Nokia 3310' must be a valid device"),
    ],
    ids=["platform", "user agent", "window", "device"],
)
@pytest.mark.exhaustive
def test_one_clients_mistake_is_its_own_and_never_the_services(
    service: Service, capabilities: dict[str, object], words: str
) -> None:
    assert words in expect_error(
        service.post("/sessions", json={"capabilities": capabilities}), 400, "invalid_request"
    )
    answer = new_session(service, capabilities)
    value = answer.json()["value"]
    assert (answer.status_code, value["error"]) == (400, "session not created")
    assert words in value["message"]
    expect_health(service)


def expect_health(service: Service) -> None:
    assert service.get("/health").status_code == 200
    assert service.get("/wd/hub/status").json()["value"]["ready"] is True
    assert service.listed() == {}


@pytest.mark.parametrize("name", ["nonsense", "browsername", "drover:nodes"])
def test_an_unknown_capability_without_a_vendor_is_invalid(service: Service, name: str) -> None:
    assert name in expect_error(
        service.post("/sessions", json={"capabilities": {name: {}}}), 400, "invalid_request"
    )
    assert new_session(service, {name: {}}).json()["value"]["error"] == "invalid argument"


def test_a_webdriver_client_is_told_what_was_set_aside(service: Service) -> None:
    answer = new_session(
        service, {"platformName": "any", "LT:Options": {}, OPTIONS: {"args": ["no-sandbox"]}}
    )
    granted = answer.json()["value"]["capabilities"]
    assert {one["name"] for one in granted["drover:ignored"]} == {"LT:Options", "no-sandbox"}
    assert all(one["reason"] for one in granted["drover:ignored"])
    plain = new_session(service, {}).json()["value"]["capabilities"]
    assert "drover:ignored" not in plain


def test_passed_capabilities_take_effect(service: Service) -> None:
    session = service.create(
        capabilities={
            "acceptInsecureCerts": True,
            "pageLoadStrategy": "eager",
            "timeouts": {"script": 5000},
            OPTIONS: {
                "args": ["--window-size=811,613", "user-agent=Agent Smith", "--lang=de"],
                "excludeSwitches": ["enable-automation"],
                "prefs": {"intl.accept_languages": "de"},
            },
        }
    )
    seen = Driver(session).run("return [navigator.userAgent, outerWidth, outerHeight, navigator.languages]")
    assert seen == ["Agent Smith", 811, 613, ["de"]]
    assert session["ignored"] == []


def test_the_operator_can_have_everything_passed_on_but_what_breaks_a_promise(
    start_service: StartService,
) -> None:
    service = start_service(allow_unsafe_capabilities=1)
    session = service.create(**chrome(args=["--some-switch=of-mine", "--user-data-dir=/home/x"]))
    assert "--some-switch=of-mine" in command_line(session)
    assert ignored(session) == ["user-data-dir"]


@pytest.mark.exhaustive
def test_a_node_serves_requests_for_its_label_only(start_service: StartService) -> None:
    service = start_service(node_label="a")
    assert new_session(service, {"drover:node": "a"}).status_code == 200
    assert new_session(service, {}).status_code == 200
    refused = new_session(service, {"drover:node": "b"})
    assert (refused.status_code, refused.json()["value"]["error"]) == (400, "session not created")


@pytest.mark.exhaustive
def test_extensions_are_loaded_again_by_a_new_browser_and_others_are_named(
    service: Service, pages: Pages
) -> None:
    manifest = {"manifest_version": 3, "name": "mark", "version": "1"}
    good = manifest | {"content_scripts": [{"matches": ["<all_urls>"], "js": ["mark.js"]}]}
    old = manifest | {"manifest_version": 2, "name": "old"}
    packed = [packed_extension(good, {"mark.js": SCRIPT}), packed_extension(old)]
    encoded = [base64.b64encode(one).decode() for one in packed]
    session = service.create(session_id="marked", **chrome(extensions=encoded))
    assert ignored(session) == ["extension 'old'"]

    def mark() -> Any:  # noqa: ANN401
        driver = Driver(expect(service.post("/sessions", json={"session_id": "marked"}))["session"])
        driver.open(pages.url("/form"))
        return driver.run("return document.documentElement.dataset.extension")

    assert mark() == "loaded"
    kill(session["browser"]["pid"], session["driver"]["pid"])
    assert mark() == "loaded"
    assert service.report("marked")["last_recovery"]["method"] == "restored"
    assert ignored(service.report("marked")) == ["extension 'old'"]


@pytest.mark.exhaustive
def test_a_page_that_an_extension_opens_does_not_take_the_place_of_the_clients(
    service: Service, pages: Pages
) -> None:
    opening = b"chrome.runtime.onInstalled.addListener(() => chrome.tabs.create({url: 'welcome.html'}))"
    background = {"background": {"service_worker": "s.js"}}
    manifest = {"manifest_version": 3, "name": "greet", "version": "1"} | background
    packed = packed_extension(manifest, {"s.js": opening, "welcome.html": b"<title>Welcome</title>"})
    extensions = [base64.b64encode(packed).decode()]
    session = service.create(session_id="greeted", url=pages.url("/form"), **chrome(extensions=extensions))
    for _ in range(2):
        wait_until(
            lambda: "welcome.html" in service.get("/sessions/greeted/json/list").text, "its page is open"
        )
        wait_until_saved()
        kill(session["browser"]["pid"])
        session = expect(service.get("/sessions/greeted"))["session"]
        assert Driver(session).address() == pages.url("/form")


@pytest.mark.exhaustive
def test_a_large_extension_is_taken_and_too_many_are_not(service: Service) -> None:
    noise = random.Random(1).randbytes(3 * 1024 * 1024)  # noqa: S311 - it only must not be compressible
    large = base64.b64encode(packed_extension(files={"noise": noise})).decode()
    assert len(large) > len(noise)
    assert service.create(**chrome(extensions=[large]))["ignored"] == []
    assert new_session(service, {OPTIONS: {"extensions": [large]}}).status_code == 200
    sentence = expect_error(
        service.post("/sessions", json=chrome(extensions=[large] * 9)), 400, "invalid_request"
    )
    assert "at most 8" in sentence


def test_a_page_with_web_security_switched_off_cannot_use_the_service(service: Service, pages: Pages) -> None:
    session = service.create(**chrome(args=["--disable-web-security", "--disable-site-isolation-trials"]))
    driver = Driver(session)
    driver.open(pages.url())
    for path, options in (("/sessions", {}), ("/sessions", {"method": "POST", "body": "{}"})):
        script = "return fetch(...arguments).then(answer => answer.json(), error => ({code: String(error)}))"
        code = driver.run(script, service.url + path, options)["code"]
        assert re.match("forbidden_origin|TypeError", code)
    assert len(service.listed()) == 1


def test_timeouts_that_only_chromedriver_takes_do_not_hinder_a_recovery(service: Service) -> None:
    session = service.create(session_id="timed")
    base = "/wd/hub/session/timed"
    for body in ({"bogus": 5}, {"type": "script", "ms": 1000}, {"implicit": 7}):
        assert service.post(f"{base}/timeouts", json=body).status_code == 200
    kill(session["driver"]["pid"])
    timeouts = service.get(f"{base}/timeouts").json()["value"]
    assert timeouts["implicit"] == 7
    assert service.report("timed")["last_recovery"]["method"] == "reattached"


def test_ending_a_session_again_succeeds_and_all_sessions_are_listed(service: Service) -> None:
    made = new_session(service, {}).json()["value"]
    listed = service.get("/wd/hub/sessions").json()["value"]
    assert [one["id"] for one in listed] == [made["sessionId"]]
    assert listed[0]["capabilities"]["browserVersion"] == made["capabilities"]["browserVersion"]
    for _ in range(2):
        ended = service.delete(f"/wd/hub/session/{made['sessionId']}")
        assert (ended.status_code, ended.json()) == (200, {"value": None})
    assert service.get("/wd/hub/sessions").json()["value"] == []


def test_a_client_of_the_json_wire_protocol_is_told_so(service: Service) -> None:
    answer = service.post("/wd/hub/session", json={"desiredCapabilities": {"browserName": "chrome"}})
    assert (answer.status_code, "JSON wire" in answer.json()["value"]["message"]) == (400, True)
    both = {"desiredCapabilities": {"browserName": "chrome"}, "capabilities": {"firstMatch": [{}]}}
    assert service.post("/wd/hub/session", json=both).status_code == 200
