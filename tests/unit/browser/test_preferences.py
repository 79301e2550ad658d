"""Chrome's preferences: which are passed on, set aside and refused."""

from __future__ import annotations

import pytest

from drover.browser.capabilities.preferences import check_preferences, preference_names
from drover.core.errors import ForbiddenCapability, InvalidRequest

FIELD = "capabilities.goog:chromeOptions.prefs"


def check(prefs: object, *, allow_unsafe: bool = False) -> tuple[dict[str, object], list[str]]:
    kept, ignored = check_preferences(prefs, FIELD, allow_unsafe=allow_unsafe)
    return kept, [one.name for one in ignored]


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
        {"protocol_handler": {"excluded_schemes": {"mailto": True}}},
        {"unknown": {"to": ["Drover", 1, None]}, "empty": {}},
        {"proxy": {"mode": "pac_script", "pac_url": "https://proxy.example/p.pac"}},
    ],
)
def test_everyday_preferences_are_passed_on_as_they_are(prefs: dict[str, object]) -> None:
    assert check(prefs) == (prefs, [])


@pytest.mark.parametrize(
    ("prefs", "kept", "ignored"),
    [
        ({"download.default_directory": "/home/x", "a": 1}, {"a": 1}, ["download.default_directory"]),
        (
            {"download": {"default_directory": "/home/x", "prompt_for_download": False}},
            {"download": {"prompt_for_download": False}},
            ["download.default_directory"],
        ),
        ({"download": {"default_directory": ""}}, {}, ["download.default_directory"]),
        ({"savefile.default_directory": "x"}, {}, ["savefile.default_directory"]),
        ({"selectfile.last_directory": "x"}, {}, ["selectfile.last_directory"]),
        ({"Download.Default_Directory": "x"}, {}, ["Download.Default_Directory"]),
        ({"a.b": "/etc/passwd"}, {}, ["a.b"]),
        ({"a": ["x", {"b": "~/x"}], "c": 1}, {"c": 1}, ["a"]),
        ({"a": "C:\\Windows"}, {}, ["a"]),
        ({"a": "\\\\server\\share"}, {}, ["a"]),
        ({"a": "../x"}, {}, ["a"]),
        ({"a": "%APPDATA%\\x"}, {}, ["a"]),
        ({"a": "view-source:file:///etc/passwd"}, {}, ["a"]),
        ({"a": '{"dir": "/etc"}'}, {}, ["a"]),
        ({"session.startup_urls": ["FILE:///etc/passwd"]}, {}, ["session.startup_urls"]),
        ({"a.userDataDir": "x"}, {}, ["a.userDataDir"]),
        ({"a.external_command": "x"}, {}, ["a.external_command"]),
    ],
)
def test_a_preference_that_names_a_path_or_a_program_is_set_aside(
    prefs: object, kept: dict[str, object], ignored: list[str]
) -> None:
    assert check(prefs) == (kept, ignored)


@pytest.mark.parametrize(
    ("prefs", "named"),
    [
        ({"proxy": {"mode": "pac_script", "pac_url": "file:///x"}}, "proxy.pac_url"),
        ({"devtools.file_system_paths": {"/etc": True}}, "devtools.file_system_paths./etc"),
        ({"devtools": {"file_system_paths": {}}}, "devtools.file_system_paths"),
        ({"protocol_handler.excluded_schemes.foo": False}, "protocol_handler.excluded_schemes.foo"),
        ({"protocol_handler": {"excluded_schemes": {"foo": False}}}, "protocol_handler.excluded_schemes.foo"),
        ({"download.extensions_to_open": "sh"}, "download.extensions_to_open"),
        ({"Download.Extensions_To_Open": "sh"}, "Download.Extensions_To_Open"),
        ({"download.open_pdf_in_system_reader": True}, "download.open_pdf_in_system_reader"),
        ({"extensions.settings.abc.location": 4}, "extensions.settings.abc.location"),
        ({"extensions": [{"settings": {"abc": 1}}]}, "extensions.settings.abc"),
    ],
)
def test_a_preference_that_starts_a_program_or_loads_code_is_refused_by_name(
    prefs: object, named: str
) -> None:
    with pytest.raises(ForbiddenCapability) as refused:
        check(prefs)
    assert f"The preference {named!r}" in refused.value.message


@pytest.mark.parametrize("prefs", [[], "x", None])
def test_preferences_that_are_not_an_object_are_invalid(prefs: object) -> None:
    with pytest.raises(InvalidRequest):
        check(prefs)


def test_the_operator_can_have_every_preference_passed_on() -> None:
    prefs = {"download.default_directory": "/x", "a": "/y", "extensions.settings": {"b": 1}}
    assert check(prefs, allow_unsafe=True) == (prefs, [])


def test_names_are_joined_from_the_levels_above() -> None:
    assert preference_names({"a": {"b": 1, "c": {"d": []}}, "e.f": 2, "g": [3]}) == {"a.b", "e.f", "g"}
