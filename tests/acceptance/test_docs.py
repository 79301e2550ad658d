"""Every command in the documentation works: a page's blocks are run in order on one service."""

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
NOT_RUN: Final = {"sh", "mermaid", "json", "toml", "yaml"}
TIMEOUT_S: Final = 90.0
# By default curl treats an error response as a success.
CURLRC: Final = "fail-with-body\nsilent\nshow-error\n"
DOCUMENTS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> dict[str, list[str]]:
    """Return the blocks of a page with their language, in order."""
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
def work_folder(shared_service: Service) -> Iterator[Path]:
    """Yield an empty working folder, with curl set up to fail on an error response."""
    folder = short_folder()
    (folder / ".curlrc").write_text(CURLRC, encoding="utf-8")
    yield folder
    shared_service.close_all()
    remove(folder)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_block_declares_whether_it_is_run(page: Path) -> None:
    assert set(blocks(page)) <= RUN | NOT_RUN


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="the blocks are written for bash")
@pytest.mark.parametrize(("shown", "language"), PROGRAMS)
def test_the_blocks_of_a_page_work(
    shared_service: Service, pages: Pages, work_folder: Path, shown: str, language: str
) -> None:
    program = adapted(shown, shared_service, pages)
    command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, program],
        cwd=work_folder,
        env=os.environ
        | {"CURL_HOME": str(work_folder), "no_proxy": "*", "PYTHONPATH": str(APP.parent)}
        | settings_of(shared_service),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert '"success":false' not in done.stdout
    assert shared_service.get("/health").status_code == requests.codes.ok


def adapted(text: str, service: Service, pages: Pages) -> str:
    """Adapt a block to the service under test: no internet, no set-up steps."""
    return (
        text.replace("http://localhost:5010", service.url)
        .replace("https://example.org/", pages.url("/"))
        .replace("python3 run.py", f"'{sys.executable}' '{APP}'")
        .replace("python3 -c", f"'{sys.executable}' -c")
    )


def settings_of(service: Service) -> dict[str, str]:
    """Return the service's settings, for commands that read them."""
    return variables(**service.settings)
