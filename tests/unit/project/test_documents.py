"""The documents match the code: settings, errors, messages, recovery causes and methods."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drover.browser.health import Cause
from drover.browser.recovery import Method
from drover.core import errors
from drover.core.errors import DroverError
from drover.core.settings import describe_settings
from drover.storage import session_folders
from drover.storage.session_folders import SessionFolder
from tests.unit.project import capabilities_page

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ALL_PAGES = [*PAGES, *sorted(ROOT.glob("*.md"))]
ROW = re.compile(r"^\| `(?P<first>[^`]+)` \| (?P<second>[^|]+?) \|(?: (?P<third>[^|]+?) \|)?", re.MULTILINE)
SAYS = re.compile(r"^\| (`[^|]+`[^|]*) \|", re.MULTILINE)
JOINED = re.compile(r'"\s*\n\s*f?"')
NOT_SAID = (".", "tests", "bench", "build")
QUOTED_FILE = re.compile(r"`((?:drover|tests|bench|deploy)/[^`\s]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def rows(page: str) -> dict[str, tuple[str, str | None]]:
    """Return the rows of a page's tables whose first cell is code."""
    found = ROW.finditer((DOCS / page).read_text(encoding="utf-8"))
    return {row["first"]: (row["second"], row["third"]) for row in found}


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    told = rows("settings.md")
    for variable, default, meaning in describe_settings():
        shown = "the system's folder for user data" if variable == "DROVER_DATA_DIR" else default
        assert told.pop(variable) == (shown, meaning)
    assert told == {}


def test_every_error_is_documented_with_its_code_and_status() -> None:
    tree = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, DroverError)]
    told = {code: cells[0] for code, cells in rows("troubleshooting.md").items() if cells[0].isdigit()}
    assert told == {one.code: str(one.status) for one in tree}


def test_quoted_messages_exist_in_the_code() -> None:
    product = [
        path for path in ROOT.rglob("*.py") if not path.relative_to(ROOT).parts[0].startswith(NOT_SAID)
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in product)
    said = JOINED.sub("", code)
    tables = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").split("### Things are slow")[0]
    quoted = [quote for first in SAYS.findall(tables) for quote in re.findall(r"`([^`]+)`", first)]
    parts = [part.strip() for quote in quoted for part in quote.split("…")]
    assert len(parts) > 20
    assert [part for part in parts if part not in said] == []


def test_every_cause_and_method_of_a_recovery_is_documented() -> None:
    text = (DOCS / "recovery.md").read_text(encoding="utf-8")
    assert [cause.value for cause in Cause if f"`{cause.value}`" not in text] == []
    assert [method.value for method in Method if f"<b>{method.value}</b>" not in text] == []


def test_the_longest_data_folders_are_documented() -> None:
    below = len(str(SessionFolder(Path("/s/00000000")).temp))
    longest = {system: most - below for system, most in session_folders._LONGEST_TEMP_PATH.items()}
    told = re.sub(r"\s+", " ", (DOCS / "settings.md").read_text(encoding="utf-8"))
    assert f"at most {longest['linux']} characters on Linux and {longest['darwin']} on macOS" in told
    assert f"and {session_folders._LONGEST_WINDOWS_PATH} on Windows" in told


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = QUOTED_FILE.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_tables_of_capabilities_are_those_of_the_code() -> None:
    assert capabilities_page.PAGE.read_text(encoding="utf-8") == capabilities_page.rendered()


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [
        page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in contents
    ] == []
