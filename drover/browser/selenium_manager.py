"""Selenium Manager, which downloads Chrome and ChromeDriver; it is imported at the call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from drover.browser.versions import major, printed_version, run_program

FETCH_TIMEOUT_S = 300.0


class NotFetched(Exception):
    """Selenium Manager could not download a program; the message says why."""


def fetch(chrome: Path | None, chromedriver: Path | None) -> tuple[Path, Path]:
    """Return the paths of Chrome and ChromeDriver, of which those that are None are downloaded if needed.

    Raises:
        NotFetched: They could not be downloaded within five minutes.
    """
    answer = _ask_selenium_manager(_manager_arguments(chrome, chromedriver))
    return Path(answer["browser_path"]), Path(answer["driver_path"])


def _manager_arguments(chrome: Path | None, chromedriver: Path | None) -> list[str]:
    # PATH was already searched, with more checks; and usage statistics are never sent to third parties.
    arguments = ["--browser", "chrome", "--skip-driver-in-path", "--skip-browser-in-path", "--avoid-stats"]
    if chrome:
        return [*arguments, "--browser-path", str(chrome)]
    version = printed_version(chromedriver) if chromedriver else ""
    return [*arguments, "--browser-version", major(version)] if version else arguments


def _ask_selenium_manager(arguments: Sequence[str]) -> Mapping[str, str]:
    # Imported here because run.py imports this module before Selenium is installed.
    from selenium.common import WebDriverException  # noqa: PLC0415
    from selenium.webdriver.common.selenium_manager import SeleniumManager  # noqa: PLC0415

    try:
        # Selenium's own function to run it has no timeout, and passes our token on in the environment.
        manager = SeleniumManager._get_binary()  # noqa: SLF001
        done = run_program([str(manager), *arguments, "--output", "json"], FETCH_TIMEOUT_S)
    except WebDriverException as error:
        raise NotFetched(error.msg) from error
    except subprocess.TimeoutExpired as error:
        raise NotFetched(f"no answer within {FETCH_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise NotFetched(f"it cannot be run: {error}") from error
    answer = _manager_answer(done.stdout)
    if done.returncode or not answer:
        last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise NotFetched(answer.get("message") or last_line or f"it exited with status {done.returncode}")
    return answer


def _manager_answer(output: bytes) -> Mapping[str, str]:
    """Return the texts in Selenium Manager's output by name; empty if it is not an answer."""
    try:
        result = json.loads(output)["result"]
        return {name: str(result.get(name) or "") for name in ("browser_path", "driver_path", "message")}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
