"""Chrome's switches: how arguments are read, decided and joined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser.capabilities.switches import (
    Switch,
    check_args,
    check_chrome_args,
    check_excluded,
    combined,
    read_switch,
)
from drover.browser.capabilities.tables import SWITCHES, Decision
from drover.core.errors import ForbiddenCapability, StartRefused

FIELD = "capabilities.goog:chromeOptions.args"


def check(*arguments: str, allow_unsafe: bool = False) -> tuple[list[str], list[str]]:
    """Return the arguments that are passed on, and the names of those that are set aside."""
    kept, ignored = check_args(arguments, FIELD, allow_unsafe=allow_unsafe)
    return kept, [one.name for one in ignored]


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("--headless=new", "--headless=new"),
        ("headless", "--headless"),
        ("-headless", "--headless"),
        ("/headless", "--headless"),
        ("  --KIOSK  ", "--kiosk"),
        ("--Window-Size=800,600", "--window-size=800,600"),
        ("--lang=", "--lang"),
        ("--host-resolver-rules=MAP a b", "--host-resolver-rules=MAP a b"),
        ("--disable-web-security=1", "--disable-web-security=1"),
        ("--disable-blink-features=AutomationControlled", "--disable-blink-features=AutomationControlled"),
        ("--enable-features=A,B:c/d", "--enable-features=A,B:c/d"),
    ],
)
def test_a_switch_is_passed_on_in_one_spelling(argument: str, kept: str) -> None:
    assert check(argument) == ([kept], [])


@pytest.mark.parametrize(
    "value",
    [
        "Foo --user-data-dir=/other/session/p",
        "Foo\n--user-data-dir=/x\t--no-sandbox",
        'Foo" --remote-debugging-port=1 "',
        " a = b ",
        "\x1b[2J\x7f",
        "--load-extension=/x",
    ],
)
def test_a_value_is_a_value_whatever_it_contains(value: str) -> None:
    argument = f"--user-agent={value}"
    assert check(argument) == ([argument], [])
    assert combined([argument]) == {"user-agent": value}


def test_a_value_with_nul_is_set_aside_because_it_would_be_cut_off_there() -> None:
    assert check("--user-agent=a\x00--user-data-dir=/x") == ([], ["user-agent"])


@pytest.mark.parametrize(
    "argument",
    [
        "",
        " ",
        "-",
        "--",
        "--=x",
        "- -kiosk",
        "http://x.example/",
        "/etc/passwd",
        "--kio\x00sk",
        "--\u212aiosk",
        "--ki osk",
        "--a[8]",
    ],
)
@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_an_argument_that_is_no_switch_is_set_aside(argument: str, allow_unsafe: bool) -> None:
    assert check(argument, "--kiosk", allow_unsafe=allow_unsafe) == (["--kiosk"], [ascii(argument)])


def test_an_unknown_switch_is_set_aside_and_only_the_operator_can_have_it_passed_on() -> None:
    assert check("--zzz=/etc/passwd") == ([], ["zzz"])
    assert check("--enable-zzz", "--disable-zzz") == ([], ["enable-zzz", "disable-zzz"])
    assert check("--zzz=1", allow_unsafe=True) == (["--zzz=1"], [])


@pytest.mark.parametrize("argument", ["Load-Extension=/x", "-renderer-cmd-prefix=x", "/GPU-LAUNCHER=calc"])
def test_a_refused_switch_is_refused_by_name_in_any_spelling(argument: str) -> None:
    name = argument.strip("-/").partition("=")[0].lower()
    with pytest.raises(ForbiddenCapability, match=f"--{name} is not allowed: .*ALLOW_UNSAFE") as refused:
        check("--kiosk", argument)
    assert list(refused.value.details or ()) == [FIELD]
    assert check(argument, allow_unsafe=True)[1] == []


@pytest.mark.parametrize("name", [row.name for row in SWITCHES.rows if row.fixed and "*" not in row.name])
def test_what_would_break_a_promise_stays_set_aside_for_the_operator_as_well(name: str) -> None:
    assert check(f"--{name}=/x", allow_unsafe=True) == ([], [name])


@pytest.mark.parametrize(
    "value",
    [
        "NetworkServiceSandbox",
        "Translate, AudioServiceSandbox",
        "*NetworkServiceSandbox",
        "NetworkServiceSandbox<Trial",
        "NetworkServiceSandbox:a/b",
        "RendererAppContainer",
        "PrintCompositorLPAC",
        "WinSboxDisableExtensionPoint",
        "NetworkServiceSyscallFilter",
        "SpectreVariant2Mitigation",
    ],
)
def test_a_feature_that_is_a_layer_of_the_sandbox_cannot_be_switched_off(value: str) -> None:
    with pytest.raises(ForbiddenCapability, match="layer of the sandbox"):
        check(f"--disable-features={value}")


@pytest.mark.parametrize(
    "name", ["MojoJS", "MojoJSTest", "IsolatedWebApps", "DirectSockets", "UnrestrictedUsb"]
)
@pytest.mark.parametrize("switch", ["enable-features", "enable-blink-features"])
def test_a_feature_that_gives_pages_too_much_cannot_be_switched_on(switch: str, name: str) -> None:
    with pytest.raises(ForbiddenCapability, match=name):
        check(f"--{switch}=Translate,{name}")


def test_the_features_that_tools_switch_by_default_pass() -> None:
    for value in (
        "AcceptCHFrame,AutoExpandDetailsElement,ExtensionManifestV2Disabled,IsolateSandboxedIframes",
        "IsolateOrigins,site-per-process,PrivacySandboxSettings4,PrivacySandboxAdsAPIsOverride,PrivacySandbox",
        "NetworkService,NetworkServiceInProcess2,CDPScreenshotNewSurface,PdfOopif",
    ):
        assert check(f"--disable-features={value}", f"--enable-features={value}")[1] == []


@pytest.mark.parametrize(
    "value",
    [
        "--max-old-space-size=4096",
        "--max_old_space_size=4096 --expose-gc",
        "--max-old-space-size 4096",
        '"--max-old-space-size=4096"',
        "--expose_gc,--stack-size=2000",
        "--no-opt --jitless",
        "--harmony-temporal",
        "",
    ],
)
def test_flags_of_v8_that_set_limits_pass(value: str) -> None:
    assert check(f"--js-flags={value}")[1] == []


@pytest.mark.parametrize(
    "value",
    [
        "--prof",
        "--expose-gc --prof",
        "--expose-gc,--log-all",
        "--logfile=/tmp/x",
        "--trace-turbo-path=/x",
        "--redirect-code-traces-to=/x",
        "--perf-prof",
        "--stack-size=/etc/passwd",
        "--expose-gc-as=x",
        "--no-sandbox-testing",
        "script.js",
    ],
)
def test_flags_of_v8_that_write_files_or_are_unknown_are_refused(value: str) -> None:
    with pytest.raises(ForbiddenCapability, match="--js-flags with this value"):
        check(f"--js-flags={value}")


@pytest.mark.parametrize(
    ("names", "kept", "ignored"),
    [
        (["enable-automation"], ["enable-automation"], []),
        (["--Enable-Automation", "enable-automation"], ["enable-automation"], []),
        (["test-type", "load-extension"], ["load-extension"], ["excludeSwitches: test-type"]),
        (["user-data-dir"], [], ["excludeSwitches: user-data-dir"]),
        (["Remote-Debugging-Pipe"], [], ["excludeSwitches: remote-debugging-pipe"]),
        (["a b", ""], [], ["'a b'", "''"]),
    ],
)
def test_chromedrivers_own_switches_can_be_excluded_unless_a_session_depends_on_them(
    names: list[str], kept: list[str], ignored: list[str]
) -> None:
    found, aside = check_excluded(names)
    assert (found, [one.name for one in aside]) == (kept, ignored)


def test_the_last_of_several_switches_counts_and_lists_of_features_are_joined() -> None:
    given = [
        "-kiosk",
        "--lang=de",
        "--disable-features=A,B",
        "lang=fr",
        "--disable-features= B , C",
        "zzz yyy",
    ]
    assert combined(given) == {"kiosk": "", "lang": "fr", "disable-features": "A,B,C"}


def test_the_operators_own_switches_may_be_any_that_drover_does_not_set_itself() -> None:
    check_chrome_args(["--no-sandbox", "--load-extension=/x", "--disk-cache-dir=/y", "--enable-logging"])
    for argument in (
        "--user-data-dir=/x",
        "remote-debugging-port=9222",
        "--profile-directory=x",
        "http://x/",
    ):
        with pytest.raises(StartRefused, match="DROVER_CHROME_ARGS"):
            check_chrome_args([argument])


NAMES = st.sampled_from([row.name for row in SWITCHES.rows]) | st.text(max_size=12)
ARGUMENTS = st.builds(
    lambda dashes, name, value: f"{dashes}{name}{value}",
    st.sampled_from(["--", "-", "", "/", " --"]),
    NAMES,
    st.sampled_from(["", "=", "=1"]) | st.text(max_size=12).map("={}".format),
)


@given(st.lists(ARGUMENTS, max_size=6))
def test_nothing_reaches_chrome_that_is_not_known_to_be_harmless(arguments: list[str]) -> None:
    try:
        kept, ignored = check_args(arguments, FIELD, allow_unsafe=False)
    except ForbiddenCapability:
        return
    for argument in kept:
        row = SWITCHES.find(argument[2:].partition("=")[0])
        assert row is not None
        assert row.decision is Decision.ALLOW
    assert len(kept) + len(ignored) == len(arguments)
    assert all(one.reason for one in ignored)


@given(NAMES, st.text(max_size=40))
def test_a_switch_that_is_read_is_read_again_as_the_same(name: str, value: str) -> None:
    switch = read_switch(f"--{name}={value}")
    assert switch is None or read_switch(str(switch)) == Switch(switch.name, switch.value)
