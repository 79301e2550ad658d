"""Capabilities: what is passed on, set aside and refused, and what ChromeDriver is asked for."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selenium.webdriver import ChromeOptions

from drover.browser.capabilities import merge, values
from drover.browser.capabilities.policy import MAX_IGNORED, NODE, CheckedCapabilities, Policy
from drover.browser.capabilities.standard import timeouts_of
from drover.browser.capabilities.tables import Ignored
from drover.core.errors import DroverError, ForbiddenCapability, InvalidRequest, SessionNotCreated
from tests.unit.examples import packed_extension

OPTIONS = "goog:chromeOptions"
ON_LINUX = Policy(platform="linux")
UNSAFE = Policy(allow_unsafe=True, platform="linux")


def check(wanted: object, policy: Policy = ON_LINUX) -> CheckedCapabilities:
    return policy.check(wanted)  # type: ignore[arg-type]  # from outside


def options_of(wanted: dict[str, object]) -> dict[str, object]:
    options = wanted[OPTIONS]
    assert isinstance(options, dict)
    return options


def names(checked: CheckedCapabilities) -> list[str]:
    return [one.name for one in checked.ignored]


def asked_for(
    *,
    args: Sequence[str] = (),
    extra_args: Sequence[str] = (),
    headless: bool = True,
    no_sandbox: bool = False,
    extensions: Sequence[str] = (),
    wanted: dict[str, object] | None = None,
    options: dict[str, object] | None = None,
) -> dict[str, object]:
    checked = check({OPTIONS: {"args": list(args), **(options or {})}, **(wanted or {})})
    return merge.for_start(
        checked,
        binary="/chrome",
        profile="/p",
        downloads="/d",
        extensions=extensions,
        headless=headless,
        no_sandbox=no_sandbox,
        extra_args=extra_args,
    )


@pytest.mark.parametrize(
    ("wanted", "is_default"),
    [
        ({}, True),
        (ChromeOptions().to_capabilities(), True),
        ({"unhandledPromptBehavior": "dismiss and notify", "strictFileInteractability": False}, True),
        ({"pageLoadStrategy": "eager"}, False),
        ({"unhandledPromptBehavior": {"alert": "accept"}}, False),
        ({"pageLoadStrategy": "normal", "acceptInsecureCerts": True}, False),
        ({OPTIONS: {"args": ["--lang=de"]}}, False),
    ],
)
def test_any_browser_serves_who_asks_for_nothing_special(wanted: dict[str, object], is_default: bool) -> None:
    assert check(wanted).is_default == is_default


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"browserVersion": "156"},
        {"acceptInsecureCerts": True, "strictFileInteractability": False},
        {"pageLoadStrategy": "eager"},
        {"timeouts": {"script": None, "pageLoad": 300_000, "implicit": 0}},
        {"timeouts": {"script": 2**53 - 1, "implicit": 5.0}},
        {"unhandledPromptBehavior": "dismiss and notify"},
        {"unhandledPromptBehavior": {"beforeUnload": "accept", "default": "ignore"}},
        {"webSocketUrl": True},
        {"webauthn:virtualAuthenticators": True, "webauthn:extension:largeBlob": True},
        {"webauthn:extension:yetToCome": True, "fedcm:accounts": True},
        {"proxy": {"proxyType": "direct"}},
        {"proxy": {"proxyType": "pac", "proxyAutoconfigUrl": "HTTPS://proxy.example/p.pac"}},
        {"proxy": {"proxyType": "manual", "httpProxy": "a:1", "sslProxy": "a:1", "noProxy": ["x", "y"]}},
        {"proxy": {"proxyType": "manual", "socksProxy": "a:1", "socksVersion": 5, "noProxy": "x,y"}},
        {"goog:loggingPrefs": {"performance": "ALL", "browser": "WARNING"}},
        {OPTIONS: {"excludeSwitches": ["enable-automation"], "enableExtensionTargets": True}},
        {OPTIONS: {"mobileEmulation": {"deviceName": "iPhone X"}}},
        {
            OPTIONS: {
                "mobileEmulation": {
                    "deviceMetrics": {
                        "width": 360,
                        "height": 640,
                        "pixelRatio": 3.0,
                        "touch": True,
                        "mobile": True,
                    },
                    "userAgent": "x",
                    "clientHints": {"platform": "Android", "mobile": True},
                }
            }
        },
        {
            OPTIONS: {"perfLoggingPrefs": {"enableNetwork": True, "traceCategories": "v8"}},
            "goog:loggingPrefs": {"performance": "ALL"},
        },
        {OPTIONS: {"windowTypes": ["webview"]}},
    ],
)
def test_what_chromedriver_understands_is_passed_on_as_it_is(wanted: dict[str, object]) -> None:
    assert check(wanted) == CheckedCapabilities(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"browserName": "chrome", "proxy": None, "setWindowRect": True, "se:downloadsEnabled": True},
        {"browserVersion": "", "platformName": "any"},
        {
            OPTIONS: {
                "args": [],
                "extensions": [],
                "binary": "",
                "detach": False,
                "prefs": {},
                "useAutomationExtension": False,
                "localState": {},
            }
        },
    ],
)
def test_what_clients_send_without_being_asked_is_nothing(wanted: dict[str, object]) -> None:
    checked = check(wanted)
    assert (checked, checked.is_default) == (CheckedCapabilities({}), True)


@pytest.mark.parametrize(
    ("platform", "spellings"),
    [
        ("linux", ["linux", "Linux", "LINUX", "unix", "any", "ANY", "", " Linux "]),
        ("windows", ["windows", "WINDOWS", "Windows 11", "win10", "XP", "Any"]),
        ("mac", ["mac", "MAC", "macOS", "macOS 14", "OS X 10.15", "darwin"]),
        ("freebsd14", ["FreeBSD14"]),
    ],
)
def test_a_platform_matches_in_every_spelling(platform: str, spellings: list[str]) -> None:
    for spelling in spellings:
        checked = Policy(platform=platform).check({"platformName": spelling, "browserName": "Chrome"})
        assert checked == CheckedCapabilities({})


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"platformName": "windows"}, "platformName"),
        ({"platformName": "darwin"}, "platformName"),
        ({"platformName": "plan9"}, "platformName"),
        ({"browserName": "firefox"}, "browserName"),
        ({"browserName": "MicrosoftEdge"}, "browserName"),
        ({NODE: "a"}, NODE),
    ],
)
def test_another_browser_platform_or_node_is_no_session(wanted: dict[str, object], named: str) -> None:
    with pytest.raises(SessionNotCreated, match=named):
        check(wanted)


def test_a_node_is_found_by_its_label() -> None:
    policy = Policy(node_label="a")
    assert policy.check({NODE: "a"}) == policy.check({}) == CheckedCapabilities({})
    with pytest.raises(SessionNotCreated, match="is 'b', and the label of this node"):
        policy.check({NODE: "b"})


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ([], "capabilities"),
        ({"browserName": ["chrome"]}, "capabilities.browserName"),
        ({"browserVersion": 156}, "capabilities.browserVersion"),
        ({"platformName": 1}, "capabilities.platformName"),
        ({NODE: True}, f"capabilities.{NODE}"),
        ({"acceptInsecureCerts": "true"}, "capabilities.acceptInsecureCerts"),
        ({"acceptInsecureCerts": 1}, "capabilities.acceptInsecureCerts"),
        ({"pageLoadStrategy": "fast"}, "capabilities.pageLoadStrategy"),
        ({"webSocketUrl": "ws://x"}, "capabilities.webSocketUrl"),
        ({"timeouts": 5}, "capabilities.timeouts"),
        ({"timeouts": {"script": -1}}, "capabilities.timeouts.script"),
        ({"timeouts": {"script": True}}, "capabilities.timeouts.script"),
        ({"timeouts": {"script": 0.5}}, "capabilities.timeouts.script"),
        ({"timeouts": {"script": 2**53}}, "capabilities.timeouts.script"),
        ({"timeouts": {"pageload": 5}}, "capabilities.timeouts.pageload"),
        ({"unhandledPromptBehavior": "shout"}, "capabilities.unhandledPromptBehavior"),
        ({"unhandledPromptBehavior": {"popup": "accept"}}, "capabilities.unhandledPromptBehavior.popup"),
        ({"proxy": {}}, "capabilities.proxy.proxyType"),
        ({"proxy": {"proxyType": "MANUAL"}}, "capabilities.proxy.proxyType"),
        ({"proxy": {"proxyType": "pac"}}, "capabilities.proxy.proxyAutoconfigUrl"),
        ({"proxy": {"proxyType": "manual", "httpProxy": 1}}, "capabilities.proxy.httpProxy"),
        ({"goog:loggingPrefs": {"browser": "LOUD"}}, "capabilities.goog:loggingPrefs.browser"),
        ({"browsername": "chrome"}, "capabilities.browsername"),
        ({"foo": True}, "capabilities.foo"),
        ({"": True}, "capabilities."),
        ({"drover:options": {}}, "capabilities.drover:options"),
        ({"drover:nodes": "a"}, "capabilities.drover:nodes"),
        ({OPTIONS: []}, f"capabilities.{OPTIONS}"),
        ({OPTIONS: {"args": "--kiosk"}}, f"capabilities.{OPTIONS}.args"),
        ({OPTIONS: {"args": [1]}}, f"capabilities.{OPTIONS}.args"),
        ({OPTIONS: {"args": None}}, f"capabilities.{OPTIONS}.args"),
        ({OPTIONS: {"prefs": ["x"]}}, f"capabilities.{OPTIONS}.prefs"),
        ({OPTIONS: {"prefs": {"x": float("nan")}}}, f"capabilities.{OPTIONS}.prefs.x"),
        ({OPTIONS: {"prefs": {"x": "\ud800"}}}, f"capabilities.{OPTIONS}.prefs.x"),
        ({OPTIONS: {"excludeSwitches": "x"}}, f"capabilities.{OPTIONS}.excludeSwitches"),
        ({OPTIONS: {"mobileEmulation": {"device": "x"}}}, f"capabilities.{OPTIONS}.mobileEmulation.device"),
        ({OPTIONS: {"windowTypes": [None]}}, f"capabilities.{OPTIONS}.windowTypes"),
        ({OPTIONS: {"extensions": ["!"]}}, f"capabilities.{OPTIONS}.extensions.0"),
        (
            {OPTIONS: {"perfLoggingPrefs": {"enableNetwork": True}}},
            f"capabilities.{OPTIONS}.perfLoggingPrefs",
        ),
    ],
)
def test_a_wrong_value_is_reported_by_its_field(wanted: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(wanted)
    assert not isinstance(refused.value, SessionNotCreated)
    assert list(refused.value.details or ()) == [field]


def test_a_long_text_in_ascii_is_not_searched_for_surrogates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_SURROGATE", re.compile(""))  # finds one everywhere
    assert values.plain_json({"a": ["b"]}, "f") == {"a": ["b"]}
    with pytest.raises(InvalidRequest):
        values.plain_json("ü", "f")


def test_nesting_without_end_is_refused_instead_of_ending_the_service() -> None:
    nested: dict[str, object] = {}
    for _ in range(50_000):
        nested = {"a": nested}
    with pytest.raises(InvalidRequest, match="32 levels"):
        check({OPTIONS: {"prefs": nested}})


def test_everything_that_is_set_aside_is_named_once_with_its_reason() -> None:
    checked = check(
        {
            "cloud:options": {"binary": "/x"},
            "some-vendor:thing": 1,
            "appium:platformVersion": "",
            "javascriptEnabled": True,
            OPTIONS: {
                "w3c": True,
                "detach": True,
                "binary": "/bin/sh",
                "localState": {"a": 1},
                "yetToCome": 1,
                "args": ["--no-sandbox", "--kiosk", "NO-SANDBOX", "--zzz", "--zzz=2"],
                "excludeSwitches": ["test-type", "enable-automation"],
                "prefs": {"download.default_directory": "/x", "a": 1},
            },
        }
    )
    assert checked.capabilities == {
        OPTIONS: {"args": ["--kiosk"], "excludeSwitches": ["enable-automation"], "prefs": {"a": 1}}
    }
    assert names(checked) == [
        "cloud:options",
        "some-vendor:thing",
        "appium:platformVersion",
        "javascriptEnabled",
        "w3c",
        "detach",
        "binary",
        "localState",
        "yetToCome",
        "no-sandbox",
        "zzz",
        "excludeSwitches: test-type",
        "download.default_directory",
    ]
    assert all(one.reason for one in checked.ignored)


def test_the_list_of_what_was_set_aside_has_a_limit() -> None:
    checked = check({OPTIONS: {"args": [f"--zzz-{number}" for number in range(5000)]}})
    assert len(checked.ignored) == MAX_IGNORED
    assert checked.ignored[-1] == Ignored("...", f"{5000 - MAX_IGNORED + 1} more were set aside")
    again = checked.also_ignoring([Ignored("one", "more")])
    assert len(again.ignored) == MAX_IGNORED


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("debuggerAddress", "127.0.0.1:9222"),
        ("minidumpPath", "/x"),
        ("androidPackage", "com.android.chrome"),
        ("androidYetToCome", "x"),
    ],
)
@pytest.mark.parametrize("policy", [ON_LINUX, UNSAFE])
def test_what_would_take_the_browser_out_of_our_hands_is_always_refused(
    option: str, value: object, policy: Policy
) -> None:
    with pytest.raises(ForbiddenCapability, match=option) as refused:
        check({OPTIONS: {option: value}}, policy)
    assert "DROVER_ALLOW_UNSAFE" not in refused.value.message


@pytest.mark.parametrize("option", ["binary", "detach", "w3c"])
def test_what_is_the_services_to_decide_is_set_aside_for_the_operator_as_well(option: str) -> None:
    checked = check({OPTIONS: {option: "x"}}, UNSAFE)
    assert (checked.capabilities, names(checked)) == ({}, [option])


@pytest.mark.parametrize(
    "wanted",
    [
        {"moz:debuggerAddress": True},
        {OPTIONS: {"localState": {"a": 1}}},
        {OPTIONS: {"prefs": {"download.default_directory": "/x"}}},
        {OPTIONS: {"args": ["--load-extension=/x", "--renderer-cmd-prefix=/y", "--zzz"]}},
    ],
)
def test_the_operator_can_have_everything_else_passed_on(wanted: dict[str, object]) -> None:
    assert check(wanted, UNSAFE) == CheckedCapabilities(wanted)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "FILE:/x", "data:,x", "/etc/passwd", "http"])
def test_a_proxy_script_comes_from_the_web_only(url: str) -> None:
    with pytest.raises(ForbiddenCapability, match="proxyAutoconfigUrl"):
        check({"proxy": {"proxyType": "pac", "proxyAutoconfigUrl": url}})


def test_extensions_are_unpacked_once_and_no_longer_part_of_the_capabilities() -> None:
    encoded = base64.b64encode(packed_extension()).decode()
    checked = check({OPTIONS: {"extensions": [encoded]}})
    assert (checked.capabilities, len(checked.extensions), checked.is_default) == ({}, 1, False)
    assert checked.also_ignoring([]) == CheckedCapabilities({})


def test_what_was_checked_does_not_change_with_what_was_given() -> None:
    prefs: dict[str, object] = {"a": 1}
    checked = check({OPTIONS: {"prefs": prefs}})
    prefs["download.default_directory"] = "/etc"
    assert checked == check({OPTIONS: {"prefs": {"a": 1}}})


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"script": 1000, "pageLoad": None}, {"script": 1000, "pageLoad": None}),
        ({"bogus": 5}, {}),
        ({"type": "script", "ms": 1000}, {}),
        ({"implicit": -1, "script": True, "pageLoad": "5"}, {}),
        ({"implicit": 5, "bogus": 5}, {"implicit": 5}),
    ],
)
def test_only_timeouts_of_the_standard_are_kept_for_a_recovery(
    sent: dict[str, object], kept: dict[str, object]
) -> None:
    assert timeouts_of(sent) == kept
    changed = CheckedCapabilities({}).with_timeouts(sent)
    assert changed.capabilities == ({"timeouts": kept} if kept else {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["--headless=new", "--user-data-dir=/p"]),
        ({"headless": False}, ["--user-data-dir=/p"]),
        ({"no_sandbox": True}, ["--headless=new", "--no-sandbox", "--user-data-dir=/p"]),
        ({"args": ["headless=old"]}, ["--headless=old", "--user-data-dir=/p"]),
        ({"args": ["-kiosk", "--kiosk"]}, ["--headless=new", "--kiosk", "--user-data-dir=/p"]),
        (
            {"extra_args": ["--lang=de"], "args": ["--lang=fr"]},
            ["--headless=new", "--lang=fr", "--user-data-dir=/p"],
        ),
        ({"extra_args": ["--user-data-dir=/x"], "headless": False}, ["--user-data-dir=/p"]),
        (
            {"extra_args": ["--disable-features=A,B"], "args": ["disable-features=D", "disable-features=B"]},
            ["--headless=new", "--disable-features=A,B,D", "--user-data-dir=/p"],
        ),
        (
            {"extensions": ["/e/0", "/e/1"], "extra_args": ["--load-extension=/x"], "headless": False},
            ["--load-extension=/x,/e/0,/e/1", "--user-data-dir=/p"],
        ),
    ],
)
def test_a_clients_switches_join_drovers_without_doubles(
    given: dict[str, object], expected: list[str]
) -> None:
    assert options_of(asked_for(**given))["args"] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ([], ["enable-logging"]),
        (["enable-automation", "enable-logging"], ["enable-logging", "enable-automation"]),
        (["test-type", "load-extension"], ["enable-logging", "load-extension"]),
    ],
)
def test_chromes_log_is_always_excluded_together_with_what_the_client_excludes(
    excluded: list[str], expected: list[str]
) -> None:
    assert options_of(asked_for(options={"excludeSwitches": excluded}))["excludeSwitches"] == expected


def test_a_new_session_asks_chromedriver_for_what_it_understands() -> None:
    wanted = {
        "browserName": "chromium",
        "setWindowRect": True,
        "pageLoadStrategy": "none",
        "se:downloadsEnabled": True,
    }
    assert asked_for(wanted=wanted) == {
        "pageLoadStrategy": "none",
        OPTIONS: {
            "binary": "/chrome",
            "args": ["--headless=new", "--user-data-dir=/p"],
            "excludeSwitches": ["enable-logging"],
            "prefs": {
                "session.restore_on_startup": 4,
                "session.startup_urls": ["data:,"],
                "download.default_directory": "/d",
                "download.prompt_for_download": False,
                "savefile.default_directory": "/d",
            },
        },
    }


def test_a_clients_preference_replaces_drovers_at_any_level() -> None:
    prefs = {"session": {"restore_on_startup": 1}, "download.prompt_for_download": True}
    merged = options_of(asked_for(options={"prefs": prefs}))["prefs"]
    assert merged == {
        "session.startup_urls": ["data:,"],
        "download.default_directory": "/d",
        "savefile.default_directory": "/d",
        **prefs,
    }


def test_a_reattach_asks_again_only_for_what_costs_the_page_nothing() -> None:
    checked = check(
        {
            "browserName": "chrome",
            "timeouts": {"implicit": 5},
            "unhandledPromptBehavior": "ignore",
            "webSocketUrl": True,
            "proxy": {"proxyType": "direct"},
            "goog:loggingPrefs": {"performance": "ALL"},
            OPTIONS: {
                "args": ["--kiosk"],
                "mobileEmulation": {"deviceName": "iPhone X"},
                "excludeSwitches": ["enable-automation"],
                "perfLoggingPrefs": {"enableNetwork": True},
            },
        }
    )
    assert merge.for_reattach(checked, "127.0.0.1:9") == {
        "timeouts": {"implicit": 5},
        "unhandledPromptBehavior": "ignore",
        "webSocketUrl": True,
        "goog:loggingPrefs": {"performance": "ALL"},
        OPTIONS: {"perfLoggingPrefs": {"enableNetwork": True}, "debuggerAddress": "127.0.0.1:9"},
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
ARGS = st.text() | st.sampled_from(
    [
        "kiosk",
        "--no-sandbox",
        "-LANG= x ",
        "disable-features=A",
        "--enable-x=",
        "load-extension",
        "js-flags=--prof",
    ]
)
CHROME_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "args": JSON | st.lists(ARGS),
        "prefs": JSON,
        "excludeSwitches": JSON | st.lists(ARGS),
        "mobileEmulation": JSON,
        "perfLoggingPrefs": JSON,
        "extensions": JSON,
        "binary": JSON,
        "zzz": JSON,
    },
)
JUNK = JSON | st.fixed_dictionaries(
    {},
    optional={
        "browserName": JSON,
        "platformName": JSON,
        NODE: JSON,
        "proxy": JSON,
        "timeouts": JSON | st.dictionaries(st.sampled_from(["script", "implicit"]), JSON),
        "unhandledPromptBehavior": JSON,
        "goog:loggingPrefs": JSON,
        OPTIONS: JSON | CHROME_OPTIONS,
        "x:y": JSON,
    },
)


@given(JUNK, st.sampled_from([ON_LINUX, UNSAFE]))
def test_any_junk_is_answered_and_what_is_clean_stays_as_it_is(junk: object, policy: Policy) -> None:
    try:
        checked = check(junk, policy)
    except DroverError as refusal:
        assert refusal.status in {400, 403}  # noqa: PT017 - most of it is refused, some is not
        return
    assert check(checked.capabilities, policy) == CheckedCapabilities(checked.capabilities)
    merge.for_start(
        checked,
        binary="/b",
        profile="/p",
        downloads="/d",
        extensions=(),
        headless=True,
        no_sandbox=False,
        extra_args=(),
    )
    merge.for_reattach(checked, "127.0.0.1:9")
