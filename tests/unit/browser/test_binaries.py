"""The search for Chrome and ChromeDriver, on every system, from data."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from selenium.common import WebDriverException
from selenium.webdriver.common.selenium_manager import SeleniumManager

from drover.browser import binaries, selenium_manager, versions
from drover.browser.binaries import Binaries, Machine
from drover.browser.versions import parse_version
from drover.core.errors import BrowserUnavailable, StartRefused
from tests.systems import NEEDS_SCRIPTS

DEBIAN_WRAPPER = b"#!/bin/sh\n\nAPPNAME=chromium\nexec $LIBDIR/$APPNAME $CHROMIUM_FLAGS\n"
UBUNTU_STUB = b'#!/bin/sh\nif ! [ -x /snap/bin/chromium ]; then\n  exit 1\nfi\nexec /snap/bin/chromium "$@"\n'
# The end of chrome/installer/linux/common/wrapper, with which Google Chrome, Edge and Brave are packaged.
COMMON_WRAPPER = b"""#!/bin/bash
export CHROME_WRAPPER="$(readlink -f "$0")"
HERE="`dirname "$CHROME_WRAPPER"`"
exec < /dev/null
exec > >(exec cat)
exec 2> >(exec cat >&2)

# Note: exec -a below is a bashism.
exec -a "$0" "$HERE/%s" "$@"
"""
PATH = "/usr/local/bin:/usr/bin:/bin"
SYSTEMS = ("linux", "win32", "darwin")


def machine(
    files: Mapping[str, bytes] | list[str],
    system: str = "linux",
    environ: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> Machine:
    contents = files if isinstance(files, dict) else dict.fromkeys(files, b"\x7fELF")
    return Machine(
        system=system,
        environ={"PATH": PATH} if environ is None else environ,
        is_program=lambda path: path in contents,
        real_path=lambda path: (links or {}).get(path, path),
        read_head=lambda path: contents.get(path, b""),
    )


def found(where: Machine, setting: str | None = None) -> str | None:
    chrome = binaries.find_chrome(setting, where)
    if chrome is None:
        return None
    if where.system == "win32":
        return str(chrome)
    # On Windows the test's own paths would get a drive and backslashes.
    return chrome.as_posix().removeprefix(chrome.drive)


@pytest.mark.parametrize("system", SYSTEMS)
def test_nothing_is_found_on_an_empty_machine(system: str) -> None:
    empty = machine([], system, {})
    assert binaries.find_chrome(None, empty) is None
    assert binaries.find_chromedriver(None, empty) is None


def test_debians_chromium_is_used_instead_of_its_wrapper() -> None:
    where = machine({"/usr/bin/chromium": DEBIAN_WRAPPER, "/usr/lib/chromium/chromium": b"\x7fELF"})
    assert found(where) == "/usr/lib/chromium/chromium"


def test_debians_chromium_is_found_if_it_is_not_on_path() -> None:
    where = machine(["/usr/lib/chromium/chromium"], environ={})
    assert found(where) == "/usr/lib/chromium/chromium"


def test_an_unknown_wrapper_is_used_itself() -> None:
    assert found(machine({"/usr/bin/chromium": DEBIAN_WRAPPER})) == "/usr/bin/chromium"


WRAPPED = [
    ("/usr/bin/google-chrome-stable", "/opt/google/chrome/google-chrome", "chrome"),
    ("/usr/bin/google-chrome-beta", "/opt/google/chrome-beta/google-chrome-beta", "chrome"),
    ("/usr/bin/microsoft-edge", "/opt/microsoft/msedge/microsoft-edge", "msedge"),
    ("/opt/brave.com/brave/brave-browser", "/opt/brave.com/brave/brave-browser", "brave"),
]


@pytest.mark.parametrize(("link", "wrapper", "name"), WRAPPED)
def test_a_browser_is_used_instead_of_the_wrapper_it_is_packaged_with(
    link: str, wrapper: str, name: str
) -> None:
    script = COMMON_WRAPPER % name.encode()
    browser = f"{wrapper.rpartition('/')[0]}/{name}"
    where = machine({link: script, wrapper: script, browser: b"\x7fELF"}, links={link: wrapper})
    assert found(where, link) == browser
    assert found(where, wrapper) == browser
    if "google-chrome-stable" in link:
        assert found(where) == browser
    # Without the browser beside it, the script itself can only fail, and says why.
    assert found(machine({link: script, wrapper: script}, links={link: wrapper}), link) == link


@pytest.mark.parametrize(
    "command", [b'exec "$HERE/chrome" "$@"', b'exec -a "$0" "$HERE/chrome" --lang=de "$@"']
)
def test_a_script_of_the_operator_is_used_itself(command: bytes) -> None:
    files = {"/opt/google/chrome/mine": b"#!/bin/sh\n" + command, "/opt/google/chrome/chrome": b"\x7fELF"}
    assert found(machine(files), "/opt/google/chrome/mine") == "/opt/google/chrome/mine"


def test_debians_wrapper_in_a_setting_is_not_used_either() -> None:
    where = machine({"/usr/bin/chromium": DEBIAN_WRAPPER, "/usr/lib/chromium/chromium": b"\x7fELF"})
    assert found(where, "/usr/bin/chromium") == "/usr/lib/chromium/chromium"


def test_chromium_is_preferred_to_google_chrome() -> None:
    where = machine(["/usr/lib/chromium/chromium", "/usr/bin/chromium", "/opt/google/chrome/chrome"])
    assert found(where) == "/usr/lib/chromium/chromium"


def test_a_chrome_on_path_is_preferred_to_the_usual_places() -> None:
    where = machine(["/home/me/bin/chrome", "/usr/lib/chromium/chromium"], environ={"PATH": "/home/me/bin"})
    assert found(where) == "/home/me/bin/chrome"


def test_a_relative_entry_of_path_is_skipped() -> None:
    assert found(machine(["chromium", "bin/chromium", "./chromium"], environ={"PATH": ":bin:."})) is None


def test_an_unknown_system_is_searched_like_linux() -> None:
    assert found(machine(["/usr/local/bin/chromium"], "freebsd14")) == "/usr/local/bin/chromium"


@pytest.mark.parametrize("folder", ["PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"])
def test_windows_is_searched_where_chrome_installs_itself(folder: str) -> None:
    chrome = r"D:\Somewhere\Google\Chrome\Application\chrome.exe"
    assert found(machine([chrome], "win32", {folder: r"D:\Somewhere"})) == chrome


def test_windows_path_is_split_at_semicolons() -> None:
    driver = r"C:\Tools\chromedriver.exe"
    where = machine([driver], "win32", {"PATH": r"C:\Windows;C:\Tools"})
    assert str(binaries.find_chromedriver(None, where)) == driver


@pytest.mark.parametrize("home", ["", "/Users/me"])
def test_macos_is_searched_in_both_application_folders(home: str) -> None:
    chrome = f"{home}/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    assert found(machine([chrome], "darwin", {"HOME": "/Users/me"})) == chrome


def test_homebrews_chromedriver_is_found_on_macos() -> None:
    where = machine(["/opt/homebrew/bin/chromedriver"], "darwin", {})
    assert binaries.find_chromedriver(None, where) == Path("/opt/homebrew/bin/chromedriver")


def test_a_setting_is_preferred_to_everything_and_used_unchanged() -> None:
    where = machine(["/srv/chrome", "/usr/lib/chromium/chromium"])
    assert found(where, "/srv/chrome") == "/srv/chrome"


def test_an_empty_setting_is_ignored() -> None:
    assert found(machine(["/usr/lib/chromium/chromium"]), "") == "/usr/lib/chromium/chromium"


@pytest.mark.parametrize(
    ("find", "variable"),
    [(binaries.find_chrome, "DROVER_CHROME_BINARY"), (binaries.find_chromedriver, "DROVER_CHROMEDRIVER")],
)
def test_a_setting_that_is_not_an_executable_is_refused_in_one_line(find: object, variable: str) -> None:
    assert callable(find)
    with pytest.raises(StartRefused) as refused:
        find("/srv/missing", machine(["/usr/bin/chromium", "/usr/bin/chromedriver"]))
    message = refused.value.message
    assert variable in message
    assert "/srv/missing" in message
    assert "full path" in message
    assert "\n" not in message


@NEEDS_SCRIPTS
def test_a_real_file_that_is_not_executable_is_refused(folder: Path) -> None:
    file = folder / "chrome"
    file.touch(mode=0o600)
    with pytest.raises(StartRefused, match="not an executable file"):
        binaries.find_chrome(str(file))


SNAPS = {
    "the snap itself": ("/snap/chromium/current/usr/lib/chromium-browser/chrome", b"\x7fELF", {}),
    "a snap of Fedora": ("/var/lib/snapd/snap/bin/chromium", b"\x7fELF", {}),
    "a script that runs one": ("/usr/bin/chromium", b'#!/bin/sh\nexec snap run chromium "$@"\n', {}),
    "snap's command": ("/snap/bin/chromium", b"\x7fELF", {"/snap/bin/chromium": "/usr/bin/snap"}),
    "a link to it": ("/usr/bin/chromium", b"\x7fELF", {"/usr/bin/chromium": "/snap/chromium/current/chrome"}),
    "a link to snap": ("/usr/bin/chromium", b"\x7fELF", {"/usr/bin/chromium": "/usr/bin/snap"}),
    "Ubuntu's script": ("/usr/bin/chromium-browser", UBUNTU_STUB, {}),
}


@pytest.mark.parametrize("case", SNAPS)
def test_a_setting_that_names_a_snap_is_refused_with_an_alternative(case: str) -> None:
    path, content, links = SNAPS[case]
    with pytest.raises(StartRefused) as refused:
        binaries.find_chrome(path, machine({path: content}, links=links))
    for word in ("DROVER_CHROME_BINARY", path, "snap", "Google Chrome", "Selenium Manager"):
        assert word in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("case", [case for case in SNAPS if case != "the snap itself"])
def test_a_snap_on_path_is_skipped_and_reported(case: str) -> None:
    path, content, links = SNAPS[case]
    where = machine(
        {path: content}, links=links, environ={"PATH": "/snap/bin:/var/lib/snapd/snap/bin:/usr/bin"}
    )
    notice = binaries.snap_notice(where)
    assert found(where) is None
    assert notice is not None
    for word in (path, "snap", "Google Chrome", "Selenium Manager"):
        assert word in notice


def test_a_real_chrome_is_found_after_a_snap() -> None:
    where = machine({"/usr/bin/chromium-browser": UBUNTU_STUB, "/opt/google/chrome/chrome": b"\x7fELF"})
    assert found(where) == "/opt/google/chrome/chrome"


def test_ubuntus_chromedriver_script_is_skipped_too() -> None:
    stub = b'#!/bin/sh\nexec /snap/bin/chromium.chromedriver "$@"\n'
    assert binaries.find_chromedriver(None, machine({"/usr/bin/chromedriver": stub})) is None


def test_debians_wrapper_is_not_a_snap() -> None:
    assert binaries.snap_notice(machine({"/usr/bin/chromium": DEBIAN_WRAPPER})) is None


class FakeManager:
    """A fake Selenium Manager: a program that records its arguments and environment, and answers or fails."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, answer: Mapping[str, str], code: int = 0
    ) -> None:
        self._notes = folder / "asked"
        answer_file = folder / "answer_file"
        answer_file.write_text(json.dumps({"logs": [], "result": answer}))
        script = (
            f"printf '%s\\n' \"$@\" > {self._notes}; env > {folder}/given; cat {answer_file}; exit {code}"
        )
        manager = program(folder / "selenium-manager", script)
        monkeypatch.setattr(SeleniumManager, "_get_binary", lambda: manager)

    @property
    def asked(self) -> list[str]:
        return self._notes.read_text().splitlines() if self._notes.exists() else []


FETCHED = {"browser_path": "/cache/chrome", "driver_path": "/cache/chromedriver"}


def test_selenium_manager_does_not_run_if_both_programs_are_found(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    manager = FakeManager(monkeypatch, folder, FETCHED)
    pair = binaries.resolve(None, None, machine(["/usr/bin/chromium", "/usr/bin/chromedriver"]))
    assert pair == Binaries(Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver"))
    assert manager.asked == []


@NEEDS_SCRIPTS
def test_a_missing_pair_is_fetched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    manager = FakeManager(monkeypatch, folder, FETCHED)
    pair = binaries.resolve(None, None, machine([*FETCHED.values()]))
    assert pair == Binaries(Path("/cache/chrome"), Path("/cache/chromedriver"))
    assert "--browser-path" not in manager.asked
    assert {"--avoid-stats", "--skip-driver-in-path", "--skip-browser-in-path"} <= {*manager.asked}


@NEEDS_SCRIPTS
def test_selenium_manager_gets_no_drover_variables(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("DROVER_API_TOKEN", "s3cret")
    FakeManager(monkeypatch, folder, FETCHED)
    binaries.resolve(None, None, machine([*FETCHED.values()]))
    given = (folder / "given").read_text()
    assert "PATH=" in given
    assert "DROVER_" not in given


@NEEDS_SCRIPTS
def test_a_missing_chromedriver_is_fetched_for_the_chrome_that_was_found(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    manager = FakeManager(monkeypatch, folder, {"browser_path": "", "driver_path": "/cache/chromedriver"})
    pair = binaries.resolve(None, None, machine(["/opt/google/chrome/chrome", "/cache/chromedriver"]))
    assert pair == Binaries(Path("/opt/google/chrome/chrome"), Path("/cache/chromedriver"))
    assert manager.asked[5:7] == ["--browser-path", "/opt/google/chrome/chrome"]


@NEEDS_SCRIPTS
def test_a_missing_chrome_is_fetched_in_the_version_of_the_found_chromedriver(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    manager = FakeManager(monkeypatch, folder, FETCHED)
    driver = program(folder / "chromedriver", "echo 'ChromeDriver 156.0.8078.79 (abc)'")
    pair = binaries.resolve(None, str(driver), machine([str(driver), *FETCHED.values()]))
    assert pair == Binaries(Path("/cache/chrome"), driver)
    assert manager.asked[5:7] == ["--browser-version", "156"]


OFFLINE = {"code": "65", "message": "error sending request", "driver_path": "", "browser_path": ""}
DRIVER_ALONE = {"browser_path": "", "driver_path": "/cache/chromedriver"}
OF_A_SNAP = {"browser_path": "/snap/bin/chromium", "driver_path": "/cache/chromedriver"}


@NEEDS_SCRIPTS
@pytest.mark.parametrize(
    ("answer", "code", "cause"),
    [(OFFLINE, 65, "error sending request"), (DRIVER_ALONE, 0, "answered"), (OF_A_SNAP, 0, "answered")],
)
def test_a_failure_of_selenium_manager_is_reported_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, folder: Path, answer: Mapping[str, str], code: int, cause: str
) -> None:
    FakeManager(monkeypatch, folder, answer, code)
    with pytest.raises(BrowserUnavailable) as unavailable:
        binaries.resolve(None, None, machine(["/cache/chromedriver", "/snap/bin/chromium"]))
    for part in (cause, "apt-get install chromium chromium-driver", "install Google Chrome"):
        assert part in unavailable.value.message
    assert "\n" not in unavailable.value.message


@NEEDS_SCRIPTS
@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo nonsense", "it exited with status 0"),
        ("echo 'x: cannot execute' >&2; exit 126", "x: cannot execute"),
        ("exec sleep 30", "no answer within 0.2 s"),
    ],
)
def test_invalid_output_or_a_timeout_of_selenium_manager_is_reported(
    monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, cause: str
) -> None:
    monkeypatch.setattr(selenium_manager, "FETCH_TIMEOUT_S", 0.2)
    manager = program(folder / "selenium-manager", script)
    monkeypatch.setattr(SeleniumManager, "_get_binary", lambda: manager)
    with pytest.raises(BrowserUnavailable, match=cause):
        binaries.resolve(None, None, machine([]))


def test_a_system_without_selenium_manager_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise WebDriverException("Unsupported platform/architecture combination")

    monkeypatch.setattr(SeleniumManager, "_get_binary", unknown)
    with pytest.raises(BrowserUnavailable, match="Unsupported platform"):
        binaries.resolve(None, None, machine([]))


@NEEDS_SCRIPTS
def test_a_missing_chromedriver_is_named_if_chrome_is_found(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    FakeManager(monkeypatch, folder, OFFLINE, 65)
    with pytest.raises(BrowserUnavailable) as unavailable:
        binaries.resolve(None, None, machine(["/opt/google/chrome/chrome"]))
    message = unavailable.value.message
    assert message.startswith("no ChromeDriver for /opt/google/chrome/chrome was found")
    assert "DROVER_CHROMEDRIVER" in message
    assert "install Google Chrome" not in message


@NEEDS_SCRIPTS
def test_a_snap_is_named_if_nothing_else_can_be_fetched(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    FakeManager(monkeypatch, folder, OFFLINE, 65)
    with pytest.raises(BrowserUnavailable) as unavailable:
        binaries.resolve(None, None, machine({"/usr/bin/chromium-browser": UBUNTU_STUB}))
    message = unavailable.value.message
    assert message.startswith("/usr/bin/chromium-browser is not used: it comes from snap")
    for part in ("Google Chrome", "Selenium Manager", "error sending request"):
        assert part in message
    assert "\n" not in message


def test_an_unreadable_folder_of_path_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_path: str) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "stat", forbidden)
    assert not binaries.THIS_MACHINE.is_program("/root/bin/chromium")


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


@NEEDS_SCRIPTS
def test_versions_are_read_from_the_programs_output(folder: Path) -> None:
    chrome = program(folder / "chrome", "echo 'Chromium 156.0.8078.79 built on Debian GNU/Linux 12'")
    driver = program(folder / "chromedriver", "echo 'ChromeDriver 155.0.1.2 (0123abc-refs/heads/main@{#1})'")
    assert binaries.versions(Binaries(chrome, driver)) == ("156.0.8078.79", "155.0.1.2")


def test_chrome_is_not_run_for_its_version_on_windows(folder: Path) -> None:
    chrome = program(folder / "chrome", f"touch {folder}/asked; echo 'Chrome 156.0'")
    assert versions.chrome_version(chrome, "win32") == ""
    assert not (folder / "asked").exists()


@pytest.mark.skipif(sys.platform != "win32", reason="only files of Windows programs carry a version")
def test_a_version_is_read_from_the_file_of_a_windows_program() -> None:
    assert versions.chrome_version(Path(sys.executable)).startswith(
        f"{sys.version_info.major}.{sys.version_info.minor}."
    )


def test_a_version_is_parsed_from_the_fixed_part_of_the_files_information() -> None:
    fixed = struct.pack("<IIII", 0xFEEF04BD, 0x10000, 156 << 16 | 0, 8078 << 16 | 79)
    assert parse_version(fixed) == "156.0.8078.79"
    assert parse_version(fixed[:12]) == ""
    assert parse_version(bytes(52)) == ""


@pytest.mark.parametrize(("version", "supported"), [("114.9", False), ("115.0.1", True), ("", True)])
def test_programs_before_chrome_for_testing_are_refused_by_version(version: str, supported: bool) -> None:
    refusal = versions.too_old("ChromeDriver", Path("/d"), version)
    assert (refusal is None) is supported
    assert refusal is None or (version in refusal and "115" in refusal)


@NEEDS_SCRIPTS
def test_a_program_that_prints_nothing_fails_or_hangs_has_no_version(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(versions, "VERSION_TIMEOUT_S", 0.05)
    hanging = program(folder / "chrome", "exec sleep 60")
    assert binaries.versions(Binaries(hanging, folder / "missing")) == ("", "")


@NEEDS_SCRIPTS
def test_a_version_query_passes_on_no_drover_variables(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("DROVER_API_TOKEN", "99.99")
    driver = program(folder / "chromedriver", 'echo "ChromeDriver ${DROVER_API_TOKEN:-1.2}"')
    assert binaries.versions(Binaries(driver, driver)) == ("1.2", "1.2")


@pytest.mark.parametrize(
    ("chrome", "driver"), [("156.0.1.2", "156.0.8078.79"), ("", "156.0"), ("156.0", ""), ("", "")]
)
def test_versions_match_if_the_major_versions_are_equal_or_unknown(chrome: str, driver: str) -> None:
    assert versions.mismatch(chrome, driver) is None


def test_mismatched_versions_are_reported_with_a_remedy() -> None:
    message = versions.mismatch("156.0.8078.79", "15.0.1.2")
    assert message is not None
    for part in ("156.0.8078.79", "15.0.1.2", "apt-get install", "DROVER_CHROMEDRIVER"):
        assert part in message
    assert "\n" not in message


def test_the_module_imports_only_the_standard_library() -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-S", "-c", "import drover.browser.binaries, run"]
    subprocess.run(command, cwd=root, check=True, timeout=30)
