"""Scripts for Selenium of earlier versions work unmodified, and outlive the death of ChromeDriver."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.clients import remote_end
from tests.acceptance.desk import Desk, kill_chromedrivers
from tests.acceptance.service import Service
from tests.machine import remove, short_folder, wait_until

SCRIPT: Final = Path(__file__).parent / "selenium_any.py"
INSTALL_S: Final = 200.0
SCRIPT_S: Final = 120.0
VERSIONS: Final = {
    "3.141.0": ["selenium==3.141.0", "urllib3<2"],
    "4.0.0": ["selenium==4.0.0"],
    "4.10.0": ["selenium==4.10.0"],
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder for packages, which are installed once."""
    made = short_folder()
    yield made
    remove(made)


def installed(folder: Path, version: str) -> Path:
    """Install a version of Selenium beside those of this environment, and return its place."""
    target = folder / version
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--target", str(target)]
    try:
        subprocess.run([*command, *VERSIONS[version]], capture_output=True, timeout=INSTALL_S, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"pip cannot install Selenium {version}: {type(error).__name__}")
    return target


@pytest.mark.exhaustive
@pytest.mark.parametrize("version", VERSIONS)
def test_a_script_for_an_earlier_selenium_outlives_its_chromedriver(
    service: Service, folder: Path, version: str
) -> None:
    target = installed(folder, version)
    with Desk(partial(kill_chromedrivers, service)) as desk:
        done = subprocess.run(
            [sys.executable, str(SCRIPT)],
            env=os.environ | {"PYTHONPATH": str(target)} | desk.environment(remote_end(service)),
            capture_output=True,
            text=True,
            timeout=SCRIPT_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["version", version]
    wait_until(lambda: service.listed() == {}, "the session has ended with its client")
