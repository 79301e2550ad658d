"""Settings: the allowed values, and the errors for invalid ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import pytest
from platformdirs import user_data_path

from drover.core.errors import StartRefused
from drover.core.settings import (
    Settings,
    default_data_dir,
    describe_settings,
    load_settings,
    named_variables,
    quoted_values,
    split_switches,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.max_sessions) == ("127.0.0.1", 5010, 10)
    assert (settings.queue_timeout, settings.idle_timeout, settings.health_timeout) == (30, 1800, 2)
    assert (settings.adopt_grace, settings.cleanup_interval, settings.cleanup_scope) == (60, 0, "system")
    assert (settings.headless, settings.allow_unsafe_capabilities) == (True, False)
    assert (settings.log_format, settings.log_level) == ("text", "info")
    assert (settings.api_token, settings.chrome_binary, settings.chromedriver) == (None, None, None)
    assert settings.chrome_args == settings.allowed_hosts == ()
    assert settings.data_dir.is_absolute()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "0", "greater than or equal to 1"),
        ("PORT", "65536", "less than or equal to 65535"),
        ("PORT", "http", "valid integer"),
        ("PORT", "", "valid integer"),
        ("MAX_SESSIONS", "0", "greater than or equal to 1"),
        ("MAX_SESSIONS", "1001", "less than or equal to 1000"),
        ("MAX_SESSIONS", "2.5", "valid integer"),
        ("QUEUE_TIMEOUT", "-1", "greater than or equal to 0"),
        ("QUEUE_TIMEOUT", "3601", "less than or equal to 3600"),
        ("QUEUE_TIMEOUT", "nan", ""),
        ("IDLE_TIMEOUT", "-1", "greater than or equal to 0"),
        ("IDLE_TIMEOUT", "inf", "finite"),
        ("IDLE_TIMEOUT", "nan", "finite"),
        ("HEALTH_TIMEOUT", "0", "greater than 0"),
        ("HEALTH_TIMEOUT", "61", "less than or equal to 60"),
        ("HEALTH_TIMEOUT", "nan", ""),
        ("ADOPT_GRACE", "-1", "greater than or equal to 0"),
        ("ADOPT_GRACE", "inf", "finite"),
        ("CLEANUP_INTERVAL", "-1", "greater than or equal to 0"),
        ("CLEANUP_SCOPE", "all", "'system' or 'owned'"),
        ("HEADLESS", "maybe", "valid boolean"),
        ("ALLOW_UNSAFE_CAPABILITIES", "2", "valid boolean"),
        ("LOG_FORMAT", "xml", "'text' or 'json'"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("CHROME_ARGS", '--lang="en', "No closing quotation"),
        ("DATA_DIR", "~nobody-of-this-name/d", "use an absolute path"),
        ("NODE_URL", "http://me:word@a.example:5010", "must be an address such as"),
        ("NODE_URL", "http://[bad", "must be an address such as"),
        ("NODE_URL", "a.example:5010", "must be an address such as"),
        ("NODE_URL", "http://a.example:65536", "must be an address such as"),
        ("NODE_URL", "http://a.example:0", "must be an address such as"),
        ("NODE_URL", "http://müller.example", "must be an address such as"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"DROVER_{name}", value)
    with pytest.raises(StartRefused) as refusal:
        load_settings()
    message = refusal.value.message
    assert message.startswith(f"DROVER_{name} is {value!r}: ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize("user", ["me", "a-name-of-twenty-chars"])
def test_on_macos_the_data_folder_is_short_enough_for_chromes_sockets(
    monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/Users") / user)
    folder = default_data_dir("darwin")
    assert folder == Path(f"/Users/{user}/.drover")
    assert len(str(folder / "s" / "00000000" / "t")) <= 58


def test_elsewhere_the_data_folder_is_the_systems_own() -> None:
    assert default_data_dir("linux") == default_data_dir("win32") == user_data_path("drover", appauthor=False)


def test_a_bad_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_API_TOKEN", "")
    with pytest.raises(StartRefused, match=r"^DROVER_API_TOKEN is \(hidden\): "):
        load_settings()


def test_a_token_is_not_shown_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_API_TOKEN", "secret-token")
    assert "secret-token" not in repr(load_settings())


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("CHROME_ARGS", '--lang=de "--user-agent=a b"', "chrome_args", ("--lang=de", "--user-agent=a b")),
        ("ALLOWED_HOSTS", " a.example , b.example:8443,", "allowed_hosts", ("a.example", "b.example:8443")),
        ("LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("HEADLESS", "0", "headless", False),
        ("HEADLESS", "true", "headless", True),
        ("IDLE_TIMEOUT", "0.5", "idle_timeout", 0.5),
        ("CLEANUP_SCOPE", "owned", "cleanup_scope", "owned"),
        ("NODE_URL", "http://[fd00::1]:5010", "own_hosts", ("[fd00::1]:5010",)),
        ("API_TOKEN", "s3cret", "token", "s3cret"),
    ],
)
def test_a_good_value_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(f"DROVER_{name}", text)
    assert getattr(load_settings(), field) == value


@pytest.mark.parametrize(
    ("text", "path"),
    [("~/drover", Path.home() / "drover"), ("/a/../b", Path("/b")), ("x", Path("x"))],
)
def test_the_data_folder_is_made_absolute(monkeypatch: pytest.MonkeyPatch, text: str, path: Path) -> None:
    monkeypatch.setenv("DROVER_DATA_DIR", text)
    assert load_settings().data_dir == Path.cwd() / path


def test_a_variable_of_the_environment_goes_before_one_of_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DROVER_PORT=6001\nDROVER_MAX_SESSIONS=3\nOTHER=1\n", encoding="utf-8")
    monkeypatch.setenv("DROVER_PORT", "6002")
    settings = load_settings()
    assert (settings.port, settings.max_sessions) == (6002, 3)


def test_an_env_file_that_is_not_text_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"DROVER_PORT=6001\n\xff\xfe\n")
    with pytest.raises(StartRefused, match=r"\.env"):
        load_settings()


def test_unknown_drover_variables_are_named() -> None:
    environ = {"DROVER_PROT": "1", "DROVER_PORT": "1", "DROVER_ZZZ": "", "PATH": "/bin", "DROVER_TEST": "1"}
    assert unknown_variables(environ) == ("DROVER_PROT", "DROVER_TEST", "DROVER_ZZZ")


def test_variables_are_named_in_the_environment_and_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DROVER_PROT", "1")
    (tmp_path / ".env").write_text("DROVER_MAX_SESIONS=3\nOTHER=1\n", encoding="utf-8")
    assert unknown_variables(named_variables()) == ("DROVER_MAX_SESIONS", "DROVER_PROT")


def test_a_line_of_the_env_file_without_a_value_sets_nothing_and_is_named() -> None:
    Path(".env").write_text("DROVER_PORT\nDROVER_PROT\n", encoding="utf-8")
    assert load_settings().port == 5010
    assert unknown_variables(named_variables()) == ("DROVER_PROT",)


def test_every_setting_is_described_with_its_default() -> None:
    described = {name: (default, meaning) for name, default, meaning in describe_settings()}
    assert set(described) == {f"DROVER_{name.upper()}" for name in Settings.model_fields}
    assert all(meaning for _, meaning in described.values())
    assert described["DROVER_PORT"][0] == "5010"
    assert described["DROVER_HEADLESS"][0] == "1"
    assert described["DROVER_API_TOKEN"][0] == "unset"


SWITCHES = [
    (r"--load-extension=C:\Users\me\ext --x", [r"--load-extension=C:\Users\me\ext", "--x"]),
    (r'--a="C:\Program Files\x" --b', [r"--a=C:\Program Files\x", "--b"]),
    (r"--a=C:\O'Brien --b", [r"--a=C:\O'Brien", "--b"]),
    ("--a=#fff --b", ["--a=#fff", "--b"]),
    ("", []),
]


@pytest.mark.parametrize(("text", "switches"), SWITCHES)
def test_on_windows_switches_keep_backslashes_and_apostrophes(text: str, switches: list[str]) -> None:
    assert split_switches(text, "win32") == switches


def test_elsewhere_switches_are_separated_as_a_shell_does() -> None:
    assert split_switches(r"--a='x y' --b=c\ d #e", "linux") == ["--a=x y", "--b=c d", "#e"]


@pytest.mark.parametrize("system", ["win32", "linux"])
def test_a_missing_quotation_mark_is_refused(system: str) -> None:
    with pytest.raises(ValueError, match="quotation"):
        split_switches('--a="x', system)


def test_values_in_double_quotes_are_found_as_they_stand() -> None:
    text = (
        '# DROVER_PORT="1"\nDROVER_CHROMEDRIVER="C:\\new\\tools\\x.exe"\n'
        'export DROVER_A = "C:\\b c" # mine\nDROVER_B=plain\nDROVER_C="a" "b"\n'
    )
    assert quoted_values(text) == {"DROVER_CHROMEDRIVER": r"C:\new\tools\x.exe", "DROVER_A": r"C:\b c"}


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_path_in_a_dotenv_file_is_read_with_its_backslashes(quote: str) -> None:
    if quote == '"' and sys.platform != "win32":
        pytest.skip("elsewhere a backslash in double quotes is an escape, as in a shell")
    path = r"C:\Users\me\tools\new\chromedriver.exe"
    Path(".env").write_text(f"DROVER_CHROMEDRIVER={quote}{path}{quote}\n", encoding="utf-8")
    assert load_settings().chromedriver == path


def test_a_dotenv_file_as_notepad_writes_it_is_read_from_its_first_line() -> None:
    Path(".env").write_text("DROVER_PORT=5999\r\nDROVER_HEADLESS=0\r\n", encoding="utf-8-sig", newline="")
    settings = load_settings()
    assert (settings.port, settings.headless) == (5999, False)


def test_a_user_without_a_home_folder_has_to_set_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    users = pytest.importorskip("pwd", reason="Windows knows the folder of every user")

    def unknown(_: int) -> NoReturn:
        raise KeyError("uid not found")

    for variable in ("HOME", "XDG_DATA_HOME", "DROVER_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(users, "getpwuid", unknown)
    with pytest.raises(StartRefused, match="DROVER_DATA_DIR is not set and this user has no home folder"):
        load_settings()
    assert [default for name, default, _ in describe_settings() if name == "DROVER_DATA_DIR"] == ["unset"]
    monkeypatch.setenv("DROVER_DATA_DIR", "/srv/drover")
    assert load_settings().data_dir == Path("/srv/drover")
