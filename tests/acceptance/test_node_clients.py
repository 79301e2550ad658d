"""Unmodified Node clients: selenium-webdriver, WebdriverIO, Puppeteer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.acceptance.clients import remote_end
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service
from tests.machine import kill, remove, short_folder, wait_until

NODE, NPM = shutil.which("node"), shutil.which("npm")
SCRIPTS: Final = Path(__file__).parent / "node"
INSTALL_S: Final = 100.0
END_S: Final = 30.0
DONE: Final = {"opened": "Desk", "uploaded": "hello, page", "clicked": "Clicked"}

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not (NODE and NPM), reason="Node and npm are not installed"),
]


class Script:
    """A running script, which reports what it sees and pauses at fixed points."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def next_report(self) -> Json:
        """Wait for its next report."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the script ended: {self._process.communicate()[1]}"
        report: Json = json.loads(line)
        return report

    def proceed(self) -> None:
        """End its pause."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def assert_succeeds(self) -> None:
        """Wait for its end, and assert success."""
        _, complaints = self._process.communicate(timeout=END_S)
        assert self._process.returncode == 0, complaints


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """Return a folder with the scripts and the packages that they need."""
    folder = short_folder()
    for source in SCRIPTS.iterdir():
        shutil.copy(source, folder)
    command = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=True)
        yield folder
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        # Without a reachable registry the clients cannot be installed.
        pytest.skip(f"npm cannot install Node's clients: {error}")
    finally:
        remove(folder)


@contextlib.contextmanager
def script(folder: Path, name: str, *arguments: str) -> Iterator[Script]:
    """Run a script, and end it if the test does not reach its end."""
    with subprocess.Popen(
        [str(NODE), str(folder / name), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        # Clients must not download browsers or send telemetry here.
        env=os.environ | {"WDIO_DISABLE_TELEMETRY": "1"},
    ) as process:
        try:
            yield Script(process)
        finally:
            process.kill()


@pytest.fixture
def own_file(tmp_path: Path) -> str:
    """Return a file of the client's machine, outside of every session's folder."""
    path = tmp_path / "own.txt"
    path.write_text(DONE["uploaded"], encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["selenium.mjs", "webdriverio.mjs"])
def test_a_node_driver_object_survives_its_chromedriver(
    service: Service, pages: Pages, installed: Path, own_file: str, name: str
) -> None:
    arguments = (remote_end(service), pages.url("/desk"), own_file, "classic")
    with script(installed, name, *arguments) as running:
        next_report = running.next_report()
        assert next_report.items() >= DONE.items()
        driver = service.listed()[next_report["session"]]["driver"]["pid"]
        kill([psutil.Process(driver)])
        running.proceed()
        assert running.next_report() == {"typed": "typed"}
        running.assert_succeeds()
    wait_until(
        lambda: next_report["session"] not in service.listed(), "the session has ended with its client"
    )


def test_webdriverio_over_bidi_its_default_survives_its_chromedriver(
    service: Service, pages: Pages, installed: Path, own_file: str
) -> None:
    arguments = (remote_end(service), pages.url("/desk"), own_file)
    with script(installed, "webdriverio.mjs", *arguments) as running:
        next_report = running.next_report()
        assert next_report.items() >= (DONE | {"bidi": True}).items()
        # WebdriverIO never opens another socket, so this one has to outlive its ChromeDriver.
        kill([psutil.Process(service.listed()[next_report["session"]]["driver"]["pid"])])
        running.proceed()
        assert running.next_report() == {"typed": "typed"}
        running.assert_succeeds()


def test_two_puppeteers_share_a_session_and_leave_it_alive(
    service: Service, pages: Pages, installed: Path
) -> None:
    session = service.create(session_id="shared")
    with script(installed, "puppeteer.mjs", session["cdp_url"], pages.url("/form")) as running:
        next_report = running.next_report()
        assert (next_report["title"], next_report["typed"]) == ("Form", "typed")
        assert next_report["picture"] > 0
        assert service.listed()["shared"]["in_use"] is True
        running.proceed()
        running.assert_succeeds()
    wait_until(lambda: service.listed()["shared"]["in_use"] is False, "no client uses it any more")
    assert service.report("shared")["health"]["status"] == "healthy"
