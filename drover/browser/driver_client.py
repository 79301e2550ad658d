"""Selenium's client for one ChromeDriver, with a bound on every answer and one error for every failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from selenium.common.exceptions import InvalidArgumentException, TimeoutException, WebDriverException
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.errorhandler import ErrorHandler
from selenium.webdriver.remote.remote_connection import RemoteConnection
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as NoAnswer


class CommandFailed(Exception):
    """ChromeDriver refused a command, or did not answer; the message is its own first line."""


class CommandTimeout(CommandFailed):
    """A command did not end in time; ChromeDriver may still be busy with it."""


class CommandRefused(CommandFailed):
    """ChromeDriver takes the command's arguments for nonsense."""


def new_session(driver_url: str, capabilities: Mapping[str, object], timeout: float) -> dict[str, Any]:
    """Ask ChromeDriver for a session; gives `sessionId` and `capabilities` as the standard has them.

    Raises:
        CommandFailed: With ChromeDriver's reason.
    """
    answer = _execute(
        driver_url, Command.NEW_SESSION, {"capabilities": {"alwaysMatch": dict(capabilities)}}, timeout
    )
    if not isinstance(answer, dict) or "sessionId" not in answer:
        raise CommandFailed("ChromeDriver's answer to a new session has no session id")
    return answer


def navigate(driver_url: str, driver_session_id: str, url: str, timeout: float) -> None:
    """Load a page in the current window and wait for it as its page load strategy says.

    Raises:
        CommandTimeout: It still loads.
        CommandFailed: It could not be loaded.
    """
    _execute(driver_url, Command.GET, {"sessionId": driver_session_id, "url": url}, timeout)


def choose_window(driver_url: str, driver_session_id: str, handle: str, timeout: float) -> None:
    """Let the commands that follow go to a window.

    Raises:
        CommandFailed: There is no such window, or ChromeDriver does not answer.
    """
    _execute(
        driver_url, Command.SWITCH_TO_WINDOW, {"sessionId": driver_session_id, "handle": handle}, timeout
    )


def _execute(driver_url: str, command: str, parameters: dict[str, object], timeout: float) -> Any:  # noqa: ANN401 - a WebDriver value is any JSON
    # Without a timeout Selenium waits for ever, and urllib3 repeats what it takes for idempotent
    # three times; a proxy of the environment must never see traffic to loopback.
    config = ClientConfig(
        remote_server_addr=driver_url,
        timeout=cast("int", timeout),  # urllib3, which it is for, takes fractions
        proxy=Proxy({"proxyType": ProxyType.DIRECT}),
        init_args_for_pool_manager={"init_args_for_pool_manager": {"retries": False}},
    )
    connection = RemoteConnection(client_config=config)
    try:
        answer = connection.execute(command, parameters)  # type: ignore[no-untyped-call]
        ErrorHandler().check_response(answer)
    except TimeoutException as error:
        raise CommandTimeout(_first_line(error)) from error
    except InvalidArgumentException as error:
        raise CommandRefused(_first_line(error)) from error
    except WebDriverException as error:
        raise CommandFailed(_first_line(error)) from error
    except NewConnectionError as error:
        # Among urllib3's errors it counts as a timeout, though it comes at once.
        raise CommandFailed(f"ChromeDriver cannot be reached: {error}") from error
    except NoAnswer as error:
        raise CommandTimeout(f"ChromeDriver did not answer within {timeout:.0f} s") from error
    except HTTPError as error:
        raise CommandFailed(f"ChromeDriver does not answer: {error}") from error
    finally:
        connection.close()  # type: ignore[no-untyped-call]
    return answer["value"]


def _first_line(error: WebDriverException) -> str:
    # Selenium appends an address of its own documentation to some messages.
    return (error.msg or type(error).__name__).splitlines()[0].split("; For documentation")[0]
