"""Processes that do not belong to the service: a foreign script, a person's Chrome, and look-alikes.

Run as a program, this file is a foreign script: `unrelated_processes.py FOLDER PORT OWN_GROUP` starts a
ChromeDriver and a Chrome through it, prints both pids as JSON, and exits without stopping either when its
standard input ends.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.machine import family, free_port, wait_until

START_S: Final = 20.0
CHROMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES: Final = ("--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu")
LONG_S: Final = "86400"
"""How many seconds they live unless they are ended: longer than any run."""
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class ForeignScript:
    """A script that the service did not start, with its ChromeDriver and Chrome."""

    script: subprocess.Popen[str]
    driver: int
    browser: int

    def leave(self) -> None:
        """Let the script end; ChromeDriver and Chrome live on."""
        assert self.script.stdin is not None
        self.script.stdin.close()
        self.script.wait(START_S)

    @property
    def main_pids(self) -> set[int]:
        """The pids that stay; Chrome's helpers start and end at any time."""
        return {self.driver, self.browser}

    def pids(self) -> set[int]:
        """Return the living pids of ChromeDriver and Chrome."""
        return family(self.driver) | family(self.browser)


def start_script(folder: Path, *, own_group: bool = False) -> ForeignScript:
    """Start a foreign script and wait until its Chrome runs.

    Args:
        folder: Where its Chrome and ChromeDriver store everything.
        own_group: Whether it gives its ChromeDriver its own process group.
    """
    script = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.acceptance.unrelated_processes",
            str(folder),
            str(free_port()),
            str(int(own_group)),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # It leads its own process group: the process that started the tests may have ended by now.
        start_new_session=True,
    )
    assert script.stdout is not None
    line = script.stdout.readline()
    script.stdout.close()
    pids = json.loads(line)
    return ForeignScript(script, pids["driver"], pids["browser"])


def start_own_chrome(folder: Path) -> subprocess.Popen[bytes]:
    """Start a person's own Chrome with a debugging port, and wait until it runs."""
    binary = next(path for path in map(shutil.which, CHROMES) if path)
    profile = folder / "own"
    chrome = subprocess.Popen(
        [binary, *SWITCHES, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        env=os.environ | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(
        (profile / "DevToolsActivePort").exists, "the person's Chrome opens its debugging port", START_S
    )
    return chrome


def start_look_alikes(folder: Path) -> list[subprocess.Popen[bytes]]:
    """Start processes that a substring match would mistake for Chrome or ChromeDriver."""
    commands = [*_renamed_sleeps(folder), *_named_scripts(folder), _mentions_chrome(folder)]
    quiet = subprocess.DEVNULL
    return [subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) for command in commands]


def _renamed_sleeps(folder: Path) -> list[list[str]]:
    sleep = shutil.which("sleep")
    assert sleep is not None
    names = ("chrome-helper-script", "chromedriver-wrapper", "my-chrome", "chrome-editor", "chromium-notes")
    return [[shutil.copy(os.path.realpath(sleep), str(folder / name)), LONG_S] for name in names]


def _named_scripts(folder: Path) -> list[list[str]]:
    scripts = [folder / name for name in ("chrome-gnome-shell", "chrome_metrics.py")]
    for script in scripts:
        script.write_text(f"#!{sys.executable}\nimport time\ntime.sleep({LONG_S})\n", encoding="utf-8")
        script.chmod(0o700)
    return [[str(script)] for script in scripts]


def _mentions_chrome(folder: Path) -> list[str]:
    switches = ["--type=renderer", "--test-type=webdriver", f"--user-data-dir={folder}/p", "chromedriver"]
    return [
        sys.executable,
        "-c",
        f"import time; time.sleep({LONG_S})",
        "/usr/lib/chromium/chromium",
        *switches,
    ]


def _run_script(folder: Path, port: str, own_group: bool) -> None:
    driver, url = _start_driver(folder, port, own_group)
    answer = _post(f"{url}/session", _capabilities(folder))
    browser = answer["value"]["capabilities"]["goog:processID"]
    sys.stdout.write(json.dumps({"driver": driver.pid, "browser": browser}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


def _start_driver(folder: Path, port: str, own_group: bool) -> tuple[subprocess.Popen[bytes], str]:
    output = folder / "driver.out"
    command = ["chromedriver", f"--port={port}", f"--log-path={folder}/driver.log"]
    with output.open("wb") as sink:
        driver = subprocess.Popen(
            command,
            env=os.environ | {"TMPDIR": str(folder)},
            stdout=sink,
            stderr=sink,
            start_new_session=own_group,
        )
    deadline = time.monotonic() + START_S
    while not (found := re.search(r"successfully on port (\d+)", output.read_text(encoding="utf-8"))):
        assert time.monotonic() < deadline, "ChromeDriver does not start"
        time.sleep(0.02)
    return driver, f"http://127.0.0.1:{found[1]}"


def _capabilities(folder: Path) -> dict[str, Any]:
    options = {"args": [*SWITCHES, f"--user-data-dir={folder}/profile"]}
    return {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}


def _post(url: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=START_S) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    _run_script(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "1")
