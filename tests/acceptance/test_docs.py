"""Every command that the documents show works: a page's blocks are run, from top to end, on one service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import requests

from tests.acceptance.pages import Pages
from tests.acceptance.service import APP, Service, variables
from tests.machine import remove, short_folder

ROOT: Final = Path(__file__).resolve().parents[2]
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN: Final = {"bash", "python"}
NOT_RUN: Final = {"sh", "mermaid", "json"}
TIMEOUT_S: Final = 90.0
# By itself curl takes an answer that is an error for a success.
CURLRC: Final = "fail-with-body\nsilent\nshow-error\n"
DOCUMENTS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> dict[str, list[str]]:
    """Give the blocks of a page by their language, in order."""
    found: dict[str, list[str]] = {}
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        found.setdefault(language, []).append(text)
    return found


PROGRAMS: Final = [
    pytest.param("\n".join(texts), language, id=f"{page.name}-{language}")
    for page in DOCUMENTS
    for language, texts in blocks(page).items()
    if language in RUN
]


@pytest.fixture
def desk(shared_service: Service) -> Iterator[Path]:
    """Give an empty folder to work in, with curl set up to end with an error where an answer is one."""
    folder = short_folder()
    (folder / ".curlrc").write_text(CURLRC, encoding="utf-8")
    yield folder
    shared_service.close_all()
    remove(folder)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_block_says_whether_it_is_run(page: Path) -> None:
    assert set(blocks(page)) <= RUN | NOT_RUN


@pytest.mark.skipif(sys.platform == "win32", reason="the blocks are for bash")
@pytest.mark.parametrize(("shown", "language"), PROGRAMS)
def test_what_a_page_shows_works(
    shared_service: Service, pages: Pages, desk: Path, shown: str, language: str
) -> None:
    program = here(shown, shared_service, pages)
    command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, program],
        cwd=desk,
        env=os.environ | {"CURL_HOME": str(desk), "no_proxy": "*"} | settings_of(shared_service),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert '"success":false' not in done.stdout
    assert shared_service.get("/health").status_code == requests.codes.ok


def here(text: str, service: Service, pages: Pages) -> str:
    """Give a block as it has to be for the service under test, a browser without internet, and no set-up."""
    return (
        text.replace("http://localhost:5010", service.url)
        .replace("https://example.org/", pages.url("/"))
        .replace("python3 run.py", f"'{sys.executable}' '{APP}'")
        .replace("python3 -c", f"'{sys.executable}' -c")
    )


def settings_of(service: Service) -> dict[str, str]:
    """Give the settings of the service, for commands that look for it."""
    return variables(**service.settings)
