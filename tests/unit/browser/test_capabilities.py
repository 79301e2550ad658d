"""The capability policy, and the capabilities that ChromeDriver gets."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser.capabilities import policy
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.core.errors import DroverError, ForbiddenCapability, InvalidRequest, StartRefused

OPTIONS = "goog:chromeOptions"


def check(wanted: object, *, allow_unsafe: bool = False) -> CheckedCapabilities:
    return policy.check(wanted, allow_unsafe=allow_unsafe)  # type: ignore[arg-type]  # from outside


def check_options(*, allow_unsafe: bool = False, **options: object) -> CheckedCapabilities:
    return check({OPTIONS: options}, allow_unsafe=allow_unsafe)


def options_of(wanted: dict[str, object]) -> dict[str, object]:
    options = wanted[OPTIONS]
    assert isinstance(options, dict)
    return options


def args_of(checked: CheckedCapabilities) -> object:
    return options_of(dict(checked.capabilities))["args"]


def merged(
    *,
    args: Sequence[str] = (),
    extra_args: Sequence[str] = (),
    headless: bool = True,
    no_sandbox: bool = False,
    wanted: dict[str, object] | None = None,
) -> dict[str, object]:
    checked = check({OPTIONS: {"args": list(args)}, **(wanted or {})})
    return policy.merge(
        checked,
        binary="/chrome",
        profile="/p",
        downloads="/d",
        headless=headless,
        no_sandbox=no_sandbox,
        extra_args=extra_args,
    )


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"browserName": "chrome"},
        {"browserName": "chromium", "browserVersion": "156", "platformName": "linux"},
        {"acceptInsecureCerts": True, "setWindowRect": True, "strictFileInteractability": False},
        {"pageLoadStrategy": "eager"},
        {"timeouts": {"script": None, "pageLoad": 300_000, "implicit": 0}},
        {"timeouts": {"script": 2**53 - 1, "implicit": 5.0}},
        {"unhandledPromptBehavior": "dismiss and notify"},
        {"unhandledPromptBehavior": {"beforeUnload": "accept", "default": "ignore"}},
        {"webSocketUrl": True},
        {"proxy": {"proxyType": "direct"}},
        {"proxy": {"proxyType": "pac", "proxyAutoconfigUrl": "HTTPS://proxy.example/p.pac"}},
        {"proxy": {"proxyType": "manual", "httpProxy": "a:1", "sslProxy": "a:1", "noProxy": ["x", "y"]}},
        {"proxy": {"proxyType": "manual", "socksProxy": "a:1", "socksVersion": 5, "noProxy": "x,y"}},
        {"goog:loggingPrefs": {"performance": "ALL", "browser": "WARNING"}},
        {OPTIONS: {}},
        {OPTIONS: {"excludeSwitches": ["enable-automation", "test-type"]}},
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
def test_allowed_capabilities_pass_unchanged(wanted: dict[str, object]) -> None:
    assert check(wanted) == CheckedCapabilities(wanted)


def test_empty_defaults_of_selenium_are_removed() -> None:
    sent = {
        "browserName": "chrome",
        "pageLoadStrategy": "normal",
        "proxy": None,
        OPTIONS: {
            "args": [],
            "extensions": [],
            "binary": "",
            "detach": False,
            "useAutomationExtension": False,
        },
    }
    expected = {"browserName": "chrome", "pageLoadStrategy": "normal", OPTIONS: {"args": []}}
    assert check(sent).capabilities == expected


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ([], "capabilities"),
        ({"browserName": "firefox"}, "capabilities.browserName"),
        ({"browserName": ["chrome"]}, "capabilities.browserName"),
        ({"browserVersion": 156}, "capabilities.browserVersion"),
        ({"platformName": ""}, "capabilities.platformName"),
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
        ({OPTIONS: []}, f"capabilities.{OPTIONS}"),
        ({OPTIONS: {"args": "--kiosk"}}, f"capabilities.{OPTIONS}.args"),
        ({OPTIONS: {"args": [1]}}, f"capabilities.{OPTIONS}.args"),
        ({OPTIONS: {"args": None}}, f"capabilities.{OPTIONS}.args"),
        ({OPTIONS: {"prefs": []}}, f"capabilities.{OPTIONS}.prefs"),
        ({OPTIONS: {"prefs": {"x": float("nan")}}}, f"capabilities.{OPTIONS}.prefs.x"),
        ({OPTIONS: {"prefs": {"x": "\ud800"}}}, f"capabilities.{OPTIONS}.prefs.x"),
        ({OPTIONS: {"excludeSwitches": "x"}}, f"capabilities.{OPTIONS}.excludeSwitches"),
        ({OPTIONS: {"mobileEmulation": {"device": "x"}}}, f"capabilities.{OPTIONS}.mobileEmulation.device"),
        ({OPTIONS: {"windowTypes": [None]}}, f"capabilities.{OPTIONS}.windowTypes"),
        (
            {OPTIONS: {"perfLoggingPrefs": {"enableNetwork": True}}},
            f"capabilities.{OPTIONS}.perfLoggingPrefs",
        ),
    ],
)
def test_an_invalid_value_is_reported_by_its_field(wanted: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(wanted)
    assert list(refused.value.details or ()) == [field]


def test_deep_nesting_is_refused() -> None:
    nested: dict[str, object] = {}
    for _ in range(50_000):
        nested = {"a": nested}
    with pytest.raises(InvalidRequest, match="32 levels"):
        check_options(prefs=nested)


def test_a_clients_settings_for_itself_are_removed() -> None:
    assert check({"wdio:enforceWebDriverClassic": True, "browserName": "chrome"}) == check(
        {"browserName": "chrome"}
    )


@pytest.mark.parametrize(
    "name", ["ms:edgeOptions", "se:recordVideo", "drover:options", "browsername", "foo", ""]
)
def test_an_unknown_capability_is_refused_by_name(name: str) -> None:
    with pytest.raises(ForbiddenCapability) as refused:
        check({name: True})
    assert repr(name) in refused.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("binary", "/bin/sh"),
        ("extensions", ["UEsDB"]),
        ("localState", {"a": 1}),
        ("debuggerAddress", "127.0.0.1:9222"),
        ("detach", True),
        ("minidumpPath", "/x"),
        ("androidPackage", "com.android.chrome"),
        ("useAutomationExtension", True),
        ("Args", []),
        ("extensionLoadTimeout", 1),
    ],
)
def test_a_chrome_option_that_is_not_on_the_list_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ForbiddenCapability) as refused:
        check({OPTIONS: {name: value}})
    assert repr(name) in refused.value.message


@pytest.mark.parametrize(
    ("arg", "kept"),
    [
        ("--headless=new", "--headless=new"),
        ("headless", "--headless"),
        ("-headless", "--headless"),
        ("/headless", "--headless"),
        ("  --KIOSK  ", "--kiosk"),
        ("--Window-Size=800,600", "--window-size=800,600"),
        ("--user-agent=Mozilla/5.0 (X; Y) --no-sandbox", "--user-agent=Mozilla/5.0 (X; Y) --no-sandbox"),
        ("--lang=", "--lang"),
        ("--host-resolver-rules=MAP a b", "--host-resolver-rules=MAP a b"),
        ("--proxy-pac-url=https://proxy.example/p.pac", "--proxy-pac-url=https://proxy.example/p.pac"),
        ("--disable-gpu", "--disable-gpu"),
        ("--disable-dev-shm-usage", "--disable-dev-shm-usage"),
        ("--enable-logging", "--enable-logging"),
        ("--disable-blink-features=AutomationControlled", "--disable-blink-features=AutomationControlled"),
        ("--enable-features=A,B:c/d", "--enable-features=A,B:c/d"),
    ],
)
def test_a_switch_on_the_list_passes_in_one_spelling(arg: str, kept: str) -> None:
    assert args_of(check_options(args=[arg])) == [kept]


@pytest.mark.parametrize(
    ("arg", "named"),
    [
        ("--load-extension=/x", "--load-extension"),
        ("Load-Extension=/x", "--load-extension"),
        ("-renderer-cmd-prefix=xterm", "--renderer-cmd-prefix"),
        ("/gpu-launcher=calc", "--gpu-launcher"),
        ("--utility-cmd-prefix=id", "--utility-cmd-prefix"),
        ("--allow-file-access-from-files", "--allow-file-access-from-files"),
        ("--disable-extensions-except=/x", "--disable-extensions-except with this value"),
        ("--enable-logging=stderr", "--enable-logging with this value"),
        ("--proxy-pac-url=file:///etc/passwd", "--proxy-pac-url with this value"),
        ("--proxy-pac-url= FILE:///etc/passwd", "--proxy-pac-url with this value"),
        ("--user-data-dir=/x", "--user-data-dir"),
        ("USER-DATA-DIR=/x", "--user-data-dir"),
        ("--remote-debugging-pipe", "--remote-debugging-pipe"),
        ("--remote-allow-origins=*", "--remote-allow-origins"),
        ("--headless-x", "--headless-x"),
        ("--headlessnew", "--headlessnew"),
        ("--enable-", "--enable-"),
        ("--ignore-certificate-errors-spki-list=x", "--ignore-certificate-errors-spki-list"),
    ],
)
def test_any_other_switch_is_refused_by_name(arg: str, named: str) -> None:
    with pytest.raises(ForbiddenCapability) as refused:
        check_options(args=["--kiosk", arg])
    assert f"The switch {named} is not allowed" in refused.value.message


@pytest.mark.parametrize(
    "arg",
    [
        "",
        " ",
        "-",
        "--",
        "--=x",
        "- -kiosk",
        "http://evil.example/",
        "file:///etc/passwd",
        "/etc/passwd",
        "--kio\x00sk",
        "--user-agent=a\nb",
        "--user-agent=a\x00b",
        "--kiosk\n",
        "--\u212aiosk",
        "--ki osk",
    ],
)
@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_an_argument_that_is_not_a_switch_is_refused(arg: str, allow_unsafe: bool) -> None:
    with pytest.raises(ForbiddenCapability, match="not a Chrome switch"):
        check_options(args=[arg], allow_unsafe=allow_unsafe)


@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_switches_that_tutorials_recommend_are_dropped_and_reported(allow_unsafe: bool) -> None:
    args = [
        "--no-sandbox",
        "--kiosk",
        "NO-SANDBOX",
        "-remote-debugging-port=9222",
        "--disable-setuid-sandbox",
    ]
    checked = check_options(args=args, allow_unsafe=allow_unsafe)
    assert args_of(checked) == ["--kiosk"]
    assert checked.dropped == ("no-sandbox", "remote-debugging-port", "disable-setuid-sandbox")


@pytest.mark.parametrize(
    "prefs",
    [
        {"download.prompt_for_download": False, "download.directory_upgrade": True},
        {"plugins.always_open_pdf_externally": True},
        {"profile.default_content_setting_values.notifications": 2},
        {"profile": {"password_manager_enabled": False}, "credentials_enable_service": False},
        {"intl.accept_languages": "en-US,en", "homepage": "https://www.example.com/a/b"},
        {"printing.print_preview_sticky_settings.appState": '{"selectedDestinationId": "Save as PDF"}'},
        {"session.startup_urls": ["https://example.com/"]},
        {"profile.content_settings.exceptions.images": {"https://[*.]example.com,*": {"setting": 2}}},
    ],
)
def test_common_preferences_pass(prefs: dict[str, object]) -> None:
    assert options_of(dict(check_options(prefs=prefs).capabilities)) == {"prefs": prefs}


@pytest.mark.parametrize(
    ("prefs", "named"),
    [
        ({"download.default_directory": "downloads"}, "download.default_directory"),
        ({"download": {"default_directory": ""}}, "download.default_directory"),
        ({"savefile.default_directory": "x"}, "savefile.default_directory"),
        ({"selectfile.last_directory": "x"}, "selectfile.last_directory"),
        ({"Download.Default_Directory": "x"}, "Download.Default_Directory"),
        ({"a.b": "/etc/passwd"}, "a.b"),
        ({"a": ["x", {"b": "~/x"}]}, "a.b"),
        ({"a": "C:\\Windows"}, "a"),
        ({"a": "\\\\server\\share"}, "a"),
        ({"a": "../x"}, "a"),
        ({"a": "%APPDATA%\\x"}, "a"),
        ({"a": "view-source:file:///etc/passwd"}, "a"),
        ({"a": '{"dir": "/etc"}'}, "a"),
        ({"session.startup_urls": ["FILE:///etc/passwd"]}, "session.startup_urls"),
        ({"proxy": {"mode": "pac_script", "pac_url": "file:///x"}}, "proxy.pac_url"),
        ({"devtools.file_system_paths": {"/etc": True}}, "devtools.file_system_paths./etc"),
        ({"protocol_handler.excluded_schemes.foo": False}, "protocol_handler.excluded_schemes.foo"),
        ({"protocol_handler": {"excluded_schemes": {"foo": False}}}, "protocol_handler.excluded_schemes.foo"),
        ({"download.extensions_to_open": "sh"}, "download.extensions_to_open"),
        ({"download.open_pdf_in_system_reader": True}, "download.open_pdf_in_system_reader"),
        ({"extensions.settings.abc.location": 4}, "extensions.settings.abc.location"),
        ({"a.userDataDir": "x"}, "a.userDataDir"),
        ({"a.external_command": "x"}, "a.external_command"),
    ],
)
def test_a_preference_that_names_a_path_or_a_program_is_refused_by_name(prefs: object, named: str) -> None:
    with pytest.raises(ForbiddenCapability) as refused:
        check_options(prefs=prefs)
    assert f"The preference {named!r}" in refused.value.message


@pytest.mark.parametrize(
    "name", ["user-data-dir", "--remote-debugging-port", "Remote-Debugging-Pipe", "a b", ""]
)
@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_switches_that_control_the_browser_cannot_be_excluded(name: str, allow_unsafe: bool) -> None:
    with pytest.raises(ForbiddenCapability):
        check_options(excludeSwitches=[name], allow_unsafe=allow_unsafe)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "FILE:/x", "data:,x", "/etc/passwd", "http"])
def test_a_proxy_script_must_have_a_web_address(url: str) -> None:
    with pytest.raises(ForbiddenCapability, match="proxyAutoconfigUrl"):
        check({"proxy": {"proxyType": "pac", "proxyAutoconfigUrl": url}})


@pytest.mark.parametrize(
    "wanted",
    [
        {"moz:debuggerAddress": True},
        {OPTIONS: {"extensions": ["UEsDB"], "localState": {"a": 1}}},
        {OPTIONS: {"prefs": {"download.default_directory": "/x"}}},
        {OPTIONS: {"args": ["--load-extension=/x", "--enable-logging=stderr"]}},
    ],
)
def test_the_operator_can_disable_the_allow_list(wanted: dict[str, object]) -> None:
    with pytest.raises(ForbiddenCapability, match="DROVER_ALLOW_UNSAFE_CAPABILITIES=1"):
        check(wanted)
    assert check(wanted, allow_unsafe=True).capabilities == wanted


@pytest.mark.parametrize(
    "options",
    [
        {"args": ["--user-data-dir=/x"]},
        {"args": ["--Remote-Debugging-Address=0.0.0.0"]},
        {"args": ["remote-debugging-pipe"]},
        {"args": ["--remote-allow-origins=*"]},
        {"args": ["--crash-dumps-dir=/x"]},
        {"binary": "/bin/sh"},
        {"debuggerAddress": "127.0.0.1:9222"},
        {"detach": True},
        {"minidumpPath": "/x"},
        {"androidPackage": "x"},
    ],
)
def test_what_would_break_the_control_of_the_browser_is_always_refused_with_a_reason(
    options: dict[str, object],
) -> None:
    with pytest.raises(ForbiddenCapability) as refused:
        check({OPTIONS: options}, allow_unsafe=True)
    assert "DROVER_ALLOW_UNSAFE" not in refused.value.message
    assert "; leave it out" in refused.value.message


def test_checked_capabilities_are_a_deep_copy() -> None:
    prefs: dict[str, object] = {"a": 1}
    checked = check_options(prefs=prefs)
    prefs["download.default_directory"] = "/etc"
    assert checked == check_options(prefs={"a": 1})


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
            {
                "extra_args": ["--disable-features=A,B"],
                "args": ["--disable-features=B,C", "disable-features=D"],
            },
            ["--headless=new", "--disable-features=A,B,C,D", "--user-data-dir=/p"],
        ),
    ],
)
def test_a_clients_switches_are_merged_without_duplicates(
    given: dict[str, object], expected: list[str]
) -> None:
    assert options_of(merged(**given))["args"] == expected  # type: ignore[arg-type]


def test_a_new_session_omits_what_chromedriver_rejects() -> None:
    wanted = {
        "browserName": "chromium",
        "setWindowRect": True,
        "pageLoadStrategy": "none",
        "se:downloadsEnabled": True,
    }
    asked = merged(wanted=wanted)
    assert asked == {
        "pageLoadStrategy": "none",
        OPTIONS: {
            "binary": "/chrome",
            "args": ["--headless=new", "--user-data-dir=/p"],
            "prefs": {
                "session.restore_on_startup": 4,
                "session.startup_urls": ["data:,"],
                "download.default_directory": "/d",
                "download.prompt_for_download": False,
            },
        },
    }


def test_a_reattach_requests_only_what_does_not_change_the_page() -> None:
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
    assert policy.for_reattach(checked, "127.0.0.1:9") == {
        "timeouts": {"implicit": 5},
        "unhandledPromptBehavior": "ignore",
        "goog:loggingPrefs": {"performance": "ALL"},
        OPTIONS: {"perfLoggingPrefs": {"enableNetwork": True}, "debuggerAddress": "127.0.0.1:9"},
    }


def test_the_operators_switches_may_be_any_that_the_service_does_not_set() -> None:
    policy.check_chrome_args(["--no-sandbox", "--load-extension=/x", "--disk-cache-dir=/y"])
    for arg in ("--user-data-dir=/x", "remote-debugging-port=9222", "--remote-debugging-pipe", "http://x/"):
        with pytest.raises(StartRefused, match="DROVER_CHROME_ARGS"):
            policy.check_chrome_args([arg])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
ARGS = st.text() | st.sampled_from(
    ["kiosk", "--no-sandbox", "-LANG= x ", "disable-features=A", "--enable-x="]
)
CHROME_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "args": JSON | st.lists(ARGS),
        "prefs": JSON,
        "excludeSwitches": JSON | st.lists(ARGS),
        "mobileEmulation": JSON,
        "perfLoggingPrefs": JSON,
        "binary": JSON,
        "zzz": JSON,
    },
)
JUNK = JSON | st.fixed_dictionaries(
    {},
    optional={
        "proxy": JSON,
        "timeouts": JSON | st.dictionaries(st.sampled_from(["script", "implicit"]), JSON),
        "unhandledPromptBehavior": JSON,
        "goog:loggingPrefs": JSON,
        OPTIONS: JSON | CHROME_OPTIONS,
        "x:y": JSON,
    },
)


@given(JUNK, st.booleans())
def test_random_input_is_refused_or_stays_unchanged_when_checked_again(
    junk: object, allow_unsafe: bool
) -> None:
    try:
        checked = check(junk, allow_unsafe=allow_unsafe)
    except DroverError as refusal:
        assert refusal.status in {400, 403}  # noqa: PT017 - most of it is refused, some is not
        return
    assert check(checked.capabilities, allow_unsafe=allow_unsafe) == CheckedCapabilities(checked.capabilities)
    policy.merge(
        checked, binary="/b", profile="/p", downloads="/d", headless=True, no_sandbox=False, extra_args=()
    )
    policy.for_reattach(checked, "127.0.0.1:9")


@given(st.lists(ARGS))
def test_a_switch_that_is_not_allowed_never_reaches_chrome(args: list[str]) -> None:
    try:
        checked = check_options(args=args)
    except ForbiddenCapability:
        return
    kept = args_of(checked)
    assert isinstance(kept, list)
    assert set(kept) <= {"--kiosk", "--lang= x", "--disable-features=A", "--enable-x"}
