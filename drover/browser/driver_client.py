"""Selenium's client for one ChromeDriver, with a timeout on every command and one tree of errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from selenium.common.exceptions import InvalidArgumentException, TimeoutException, WebDriverException
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.errorhandler import ErrorHandler
from selenium.webdriver.remote.remote_connection import RemoteConnection
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as NoAnswer

from drover.browser.running_browser import RunningBrowser
from drover.net.loopback_http import send_request

MAX_VALUE_BYTES = 1024 * 1024
MAX_REASON = 200


class CommandFailed(Exception):
    """ChromeDriver rejected a command or did not answer; the message is its error with all its causes."""


class NoResponse(CommandFailed):
    """ChromeDriver or Chrome ended or hung, so there is no answer; nothing says why."""


class CommandTimeout(NoResponse):
    """A command did not finish in time; ChromeDriver may still be executing it."""


class CommandRefused(CommandFailed):
    """ChromeDriver rejected the command's arguments."""


def new_session(driver_url: str, capabilities: Mapping[str, object], timeout: float) -> dict[str, Any]:
    """Create a ChromeDriver session; return `sessionId` and `capabilities` as in the WebDriver standard.

    Raises:
        CommandFailed: With ChromeDriver's reason.
    """
    answer = _execute(
        driver_url, Command.NEW_SESSION, {"capabilities": {"alwaysMatch": dict(capabilities)}}, timeout
    )
    if not isinstance(answer, dict) or "sessionId" not in answer:
        raise CommandFailed("ChromeDriver's answer to a new session has no session id")
    return answer


def navigate(running: RunningBrowser, url: str, timeout: float) -> None:
    """Load a page in the current window and wait for it according to the session's page load strategy.

    Raises:
        CommandTimeout: It is still loading.
        CommandFailed: It could not be loaded.
    """
    _execute(running.driver_url, Command.GET, {"sessionId": running.driver_session_id, "url": url}, timeout)


def choose_window(running: RunningBrowser, handle: str, timeout: float) -> None:
    """Switch to a window, so that the following commands apply to it.

    Raises:
        CommandFailed: There is no such window, or ChromeDriver does not answer.
    """
    parameters: dict[str, object] = {"sessionId": running.driver_session_id, "handle": handle}
    _execute(running.driver_url, Command.SWITCH_TO_WINDOW, parameters, timeout)


def current_window(running: RunningBrowser, timeout: float) -> str | None:
    """Return the handle of the current window; None if ChromeDriver does not say."""
    path = f"/session/{running.driver_session_id}/window"
    try:
        answer = send_request("GET", running.driver_url, path, timeout, MAX_VALUE_BYTES)
        value: object = json.loads(answer.body)["value"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) and answer.status == HTTPStatus.OK else None


def send(running: RunningBrowser, path: str, body: Mapping[str, object], timeout: float) -> object:
    """Send a POST command by its path after the session's id, and return its value.

    Raises:
        CommandFailed: ChromeDriver rejects it, or does not answer in time.
    """
    path = f"/session/{running.driver_session_id}{path}"
    try:
        answer = send_request(
            "POST", running.driver_url, path, timeout, MAX_VALUE_BYTES, json.dumps(body).encode()
        )
        value: object = json.loads(answer.body)["value"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandFailed(f"ChromeDriver does not answer: {error}") from error
    if answer.status != HTTPStatus.OK:
        raise CommandFailed(f"ChromeDriver rejected {path}: {str(value)[:MAX_REASON]}")
    return value


def _execute(driver_url: str, command: str, parameters: dict[str, object], timeout: float) -> Any:  # noqa: ANN401 - a WebDriver value is any JSON
    # Without a timeout Selenium waits forever, and by default urllib3 retries idempotent requests
    # three times; a proxy from the environment must never see traffic to loopback.
    config = ClientConfig(
        remote_server_addr=driver_url,
        timeout=cast("int", timeout),  # urllib3, which receives it, accepts fractions
        proxy=Proxy({"proxyType": ProxyType.DIRECT}),
        init_args_for_pool_manager={"init_args_for_pool_manager": {"retries": False}},
    )
    connection = RemoteConnection(client_config=config)
    try:
        answer = connection.execute(command, parameters)  # type: ignore[no-untyped-call]
        ErrorHandler().check_response(answer)
    except TimeoutException as error:
        raise CommandTimeout(_reason(error)) from error
    except InvalidArgumentException as error:
        raise CommandRefused(_reason(error)) from error
    except WebDriverException as error:
        raise CommandFailed(_reason(error)) from error
    except NewConnectionError as error:
        # urllib3 derives this error from its timeout error, although it is raised immediately.
        raise NoResponse(f"ChromeDriver cannot be reached: {error}") from error
    except NoAnswer as error:
        raise CommandTimeout(f"ChromeDriver did not answer within {timeout:.0f} s") from error
    except HTTPError as error:
        raise NoResponse(f"ChromeDriver does not answer: {error}") from error
    finally:
        connection.close()  # type: ignore[no-untyped-call]
    return answer["value"]


def _reason(error: WebDriverException) -> str:
    """Return ChromeDriver's message in one line: the error and its causes; the last one names the fault.

    ChromeDriver writes each cause in a line that begins with "from", then lines about itself.
    """
    # Selenium appends an address of its own documentation to some messages.
    lines = (error.msg or type(error).__name__).split("; For documentation")[0].splitlines()
    causes = [line.strip() for line in lines[1:] if line.startswith("from ")]
    return "; ".join([lines[0], *causes])
