#!/usr/bin/env python3
"""A fake ChromeDriver with its own browser, which misbehaves on demand.

It takes `--port`, `--log-path` and `--version`, ignores every other switch, and speaks as much of the
protocol as a session needs. Its browser is `fake_browser.py`, also a process.

The misbehaviour is a `Fault`, read again at each request:
  * from the file named by the environment variable FAKE_CHROMEDRIVER_CONTROL, if it exists. Its text is
    the name of a fault, or `PID FAULT` for one process only (one per line; the first match counts);
  * else from the environment variable FAKE_CHROMEDRIVER_FAULT.

`install(folder)` creates `folder/chromedriver`, whose processes have executables called `chromedriver` and
`chromium` as the real ones have, and whose control file is `folder/control`. The session commands received
are recorded in `folder/commands`, one per line.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.resources
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
import urllib.request
import uuid
import zipfile
from enum import Enum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
VERSION: Final = "156.0.8078.79"
START_ERROR: Final = "fake chromedriver: cannot find the shared library libnothing.so"
REJECTION: Final = "cannot parse capability: goog:chromeOptions\nfrom invalid argument: 'x' must be a device"
BIND_FAILED: Final = "bind() failed: Address already in use (98)"
CHROME: Final = "chrome.exe" if sys.platform == "win32" else "chromium"
"""The name of the browser's program, in the folder `bin` below that of the fake."""
CONTROL: Final = "FAKE_CHROMEDRIVER_CONTROL"
COMMANDS: Final = "commands"
FAULT: Final = "FAKE_CHROMEDRIVER_FAULT"
TICK_S: Final = 0.02
BROWSER_START_S: Final = 5.0 if sys.platform != "win32" else 30.0


class Fault(str, Enum):
    """One kind of misbehaviour. The last three are the browser's."""

    NONE = "none"
    REFUSES_TO_START = "refuses_to_start"  # prints START_ERROR and exits with 1
    PORT_TAKEN = "port_taken"  # finds its port taken, logs it as the real one does, and exits with 1
    NEVER_READY = "never_ready"  # runs, but never prints that it was started
    NOT_ACCEPTING = "not_accepting"  # listens, never accepts
    HUNG = "hung"  # accepts, never answers
    BUSY = "busy"  # answers /status, but no command
    DIES_MID_COMMAND = "dies_mid_command"  # exits when it receives a session's command
    DIES_AFTER_SESSION = "dies_after_session"  # answers POST /session, then exits
    DIES_AT_NEW_SESSION = "dies_at_new_session"  # exits when it receives POST /session
    DIES_ONCE = "dies_once"  # the same; the next ChromeDriver has no fault
    BROWSER_DIES_ONCE = "browser_dies_once"  # answers POST /session as if Chrome had died; the next works
    REFUSES_SESSION = "refuses_session"  # answers POST /session with `session not created`
    CANNOT_WRITE = "cannot_write"  # the same, as if the disk were full
    REFUSES_CAPABILITIES = "refuses_capabilities"  # the same, if not default ones are requested
    REJECTS_CAPABILITIES = "rejects_capabilities"  # answers POST /session with `invalid argument`
    ANSWERS_GARBAGE = "answers_garbage"  # answers with bytes that are not HTTP
    GARBLES_TITLE = "garbles_title"  # the same, to the title command only
    ANSWERS_HTML = "answers_html"  # answers 200 with a page that is not JSON
    IGNORES_TERM = "ignores_term"  # continues after SIGTERM; read once, at the start
    BROWSER_DIES_AT_START = "browser_dies_at_start"
    BROWSER_HUNG = "browser_hung"
    BROWSER_DIES_WITH_SESSION = "browser_dies_with_session"  # right after POST /session was answered


START_FAILURES: Final = {
    Fault.BROWSER_DIES_ONCE: "Chrome instance exited",
    Fault.REFUSES_SESSION: "Chrome failed to start: exited",
    Fault.CANNOT_WRITE: "session not created\nfrom unknown error: failed to write prefs file",
}


@functools.cache
def own_pid() -> int:
    """Return the process that was started as this program; on Windows it is a launcher above Python."""
    if sys.platform != "win32":
        return os.getpid()
    import psutil  # noqa: PLC0415 - elsewhere the fake runs without installed packages

    return psutil.Process().ppid()


def current_fault() -> Fault:
    """Return the fault that applies to this process now."""
    with contextlib.suppress(KeyError, FileNotFoundError):
        for line in Path(os.environ[CONTROL]).read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) == 1 or (words and int(words[0]) == own_pid()):
                return Fault(words[-1])
    return Fault(os.environ.get(FAULT, Fault.NONE.value))


def install(folder: Path) -> Path:
    """Install a fake in `folder` whose processes have the real names; return the path of its ChromeDriver."""
    if sys.platform == "win32":
        return _install_programs(folder)
    home = folder / "bin"
    home.mkdir()
    interpreter = os.path.realpath(sys.executable)
    for name in ("chromedriver", CHROME):
        shutil.copy(interpreter, home / name)
    wrapper = folder / "chromedriver"
    wrapper.write_text(
        "#!/bin/sh\n"
        f"export PYTHONHOME='{sys.base_prefix}' {CONTROL}='{folder}/control'\n"
        f"exec '{home}/chromedriver' -S '{Path(__file__).resolve()}' --browser='{home}/{CHROME}' \"$@\"\n",
        encoding="utf-8",
    )
    wrapper.chmod(0o755)
    return wrapper


def _install_programs(folder: Path) -> Path:
    """Install the fake as two programs of Windows: launchers of pip, which start Python with a script."""
    (folder / "bin").mkdir()
    chrome, driver = folder / "bin" / CHROME, folder / "chromedriver.exe"
    _write_program(chrome, "fake_browser", [], folder)
    _write_program(driver, "fake_chromedriver", [f"--browser={chrome}"], folder)
    return driver


def _write_program(path: Path, module: str, arguments: list[str], folder: Path) -> None:
    launcher = importlib.resources.files("pip._vendor.distlib").joinpath("t64.exe").read_bytes()
    script = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"os.environ.setdefault({CONTROL!r}, {str(folder / 'control')!r})\n"
        f"from tests.integration import {module}\n"
        f"{module}.main([*{arguments!r}, *sys.argv[1:]])\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", script)
    path.write_bytes(launcher + f"#!{os.path.realpath(sys.executable)}\r\n".encode() + packed.getvalue())


class Browser:
    """The fake Chrome process, as seen by the ChromeDriver that runs it or is attached to it."""

    def __init__(self, address: str, process: subprocess.Popen[bytes] | None) -> None:
        self.address = address
        self.process = process

    def page(self) -> str:
        """Return the id of its page, which is also the window handle."""
        with urllib.request.urlopen(f"http://{self.address}/json/list", timeout=1) as answer:
            return str(json.load(answer)[0]["id"])

    def is_alive(self) -> bool:
        """Return whether its DevTools respond."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/json/version", timeout=1):
                return True
        except OSError:
            return False

    def end(self) -> None:
        """End it if this ChromeDriver started it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(BROWSER_START_S)


def start_browser(executable: str, arguments: list[str]) -> Browser:
    """Start the fake Chrome process.

    Raises:
        RuntimeError: It ended, or did not open its port in time.
    """
    switches = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    profile = Path(switches.get("user-data-dir", "."))
    profile.mkdir(parents=True, exist_ok=True)
    port_file = profile / "DevToolsActivePort"
    port_file.unlink(missing_ok=True)
    # -S: it needs only the standard library, and starts in half the time.
    script = [] if sys.platform == "win32" else ["-S", "-m", "tests.integration.fake_browser"]
    command = [executable, *script, *arguments]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + BROWSER_START_S
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            message = "session not created: Chrome instance exited"
            raise RuntimeError(message)
        time.sleep(TICK_S)
    port = port_file.read_text(encoding="utf-8").split("\n")[0]
    return Browser(f"127.0.0.1:{port}", process)


class Server(ThreadingHTTPServer):
    """A server that reads the fault before it accepts a connection."""

    daemon_threads = True

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            readable, _, _ = select.select([self.socket], [], [], TICK_S)
            if current_fault() is Fault.NOT_ACCEPTING:
                time.sleep(TICK_S)
            elif readable:
                self.handle_request()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Log nothing: clients often disconnect here."""


class Handler(BaseHTTPRequestHandler):
    """JSON responses, shared by the fake ChromeDriver and the fake browser."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        """Log nothing."""

    def body(self) -> dict[str, Any]:
        """Read the JSON object that was sent."""
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = json.loads(sent) if sent else {}
        return content if isinstance(content, dict) else {}

    def answer(self, content: object, status: int = HTTPStatus.OK, kind: str = "application/json") -> None:
        """Send a response."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def wait_while(self, *faults: Fault) -> None:
        """Block while one of these faults is set."""
        while current_fault() in faults:
            time.sleep(TICK_S)


class DriverHandler(Handler):
    """The WebDriver commands that a session needs."""

    def do_GET(self) -> None:
        """Serve a command that reads."""
        self._serve()

    def do_POST(self) -> None:
        """Serve a command that changes something."""
        self._serve()

    def do_DELETE(self) -> None:
        """Serve the end of a session or a window."""
        self._serve()

    def _serve(self) -> None:
        body = self.body()
        self.wait_while(Fault.HUNG, Fault.NOT_ACCEPTING)
        fault = current_fault()
        if fault is Fault.ANSWERS_GARBAGE:
            self._answer_garbage()
        elif fault is Fault.ANSWERS_HTML:
            self.answer(b"<html><h1>It works!</h1></html>", kind="text/html")
        else:
            self._dispatch(self._path_below_base(), body)

    def _answer_garbage(self) -> None:
        self.wfile.write(b"\x00\xff\x00 no http at all\r\n\r\n")
        self.close_connection = True

    def _path_below_base(self) -> list[str]:
        """Return the parts of the path behind `--url-base`; for any other path one that does not exist."""
        path = self.path.split("?")[0]
        if not path.startswith(f"{URL_BASE}/"):
            return ["outside of the base"]
        return path.removeprefix(URL_BASE).strip("/").split("/")

    def _dispatch(self, path: list[str], body: dict[str, Any]) -> None:
        if path == ["status"]:
            self.answer({"value": {"ready": True, "message": "ChromeDriver ready for new sessions."}})
        elif path == ["shutdown"]:
            self._shut_down()
        elif path == ["session"] and self.command == "POST":
            self._new_session(body)
        elif path[0] == "session" and len(path) > 1:
            self._session_command(path[1], path[2:], body)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "unknown command", self.path)

    def _shut_down(self) -> None:
        self.answer({"value": None})
        for browser in SESSIONS.values():
            browser.end()
        os._exit(0)

    def _new_session(self, body: dict[str, Any]) -> None:
        fault = current_fault()
        if fault in {Fault.DIES_ONCE, Fault.BROWSER_DIES_ONCE}:
            Path(os.environ[CONTROL]).write_text(Fault.NONE.value, encoding="utf-8")
        if fault in {Fault.DIES_ONCE, Fault.DIES_AT_NEW_SESSION}:
            os._exit(1)
        if fault in START_FAILURES:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "session not created", START_FAILURES[fault])
            return
        requested = _requested_capabilities(body)
        if current_fault() is Fault.REFUSES_CAPABILITIES and set(requested) - {"goog:chromeOptions"}:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "session not created", "Chrome instance exited")
            return
        if current_fault() is Fault.REJECTS_CAPABILITIES:
            self._refuse(HTTPStatus.BAD_REQUEST, "invalid argument", REJECTION)
            return
        options = requested.get("goog:chromeOptions", {})
        try:
            browser = self._browser(options)
        except RuntimeError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "session not created", str(error))
            return
        session_id = uuid.uuid4().hex
        SESSIONS[session_id] = browser
        self.answer(
            {
                "value": {
                    "sessionId": session_id,
                    "capabilities": _session_capabilities(requested, options, browser),
                }
            }
        )
        if current_fault() is Fault.DIES_AFTER_SESSION:
            os._exit(1)
        if current_fault() is Fault.BROWSER_DIES_WITH_SESSION:
            browser.end()

    def _browser(self, options: dict[str, Any]) -> Browser:
        if address := options.get("debuggerAddress"):
            browser = Browser(address, None)
            if not browser.is_alive():
                message = f"session not created: cannot connect to chrome at {address}"
                raise RuntimeError(message)
            return browser
        return start_browser(BROWSER, [*options.get("args", []), "--remote-debugging-port=0"])

    def _session_command(self, session_id: str, command: list[str], body: dict[str, Any]) -> None:
        _record_command(f"{self.command} /{'/'.join(command)}")
        if current_fault() is Fault.DIES_MID_COMMAND:
            os._exit(1)
        if current_fault() is Fault.GARBLES_TITLE and command == ["title"]:
            self._answer_garbage()
            return
        self.wait_while(Fault.BUSY)
        browser = SESSIONS.get(session_id)
        if browser is None:
            self._refuse(HTTPStatus.NOT_FOUND, "invalid session id", "invalid session id")
        elif not command and self.command == "DELETE":
            del SESSIONS[session_id]
            browser.end()
            self.answer({"value": None})
        elif not browser.is_alive():
            del SESSIONS[session_id]
            self._refuse(
                HTTPStatus.NOT_FOUND, "invalid session id", "session deleted as the browser has closed"
            )
        else:
            self.answer({"value": _result(command, self.command, browser)})

    def _refuse(self, status: HTTPStatus, error: str, message: str) -> None:
        self.answer({"value": {"error": error, "message": message, "stacktrace": ""}}, status)


def _record_command(command: str) -> None:
    """Record a received command, for tests of what is sent and how often."""
    if CONTROL in os.environ:
        with Path(os.environ[CONTROL]).with_name(COMMANDS).open("a", encoding="utf-8") as notes:
            notes.write(f"{command}\n")


SESSIONS: Final[dict[str, Browser]] = {}
BROWSER = sys.executable
URL_BASE = ""


def _requested_capabilities(body: dict[str, Any]) -> dict[str, Any]:
    capabilities = body.get("capabilities", {})
    first = (capabilities.get("firstMatch") or [{}])[0]
    return {**capabilities.get("alwaysMatch", {}), **first}


def _session_capabilities(
    requested: dict[str, Any], options: dict[str, Any], browser: Browser
) -> dict[str, Any]:
    granted = {
        "acceptInsecureCerts": False,
        "browserName": "chrome",
        "browserVersion": VERSION,
        "chrome": {"chromedriverVersion": VERSION},
        "goog:chromeOptions": {"debuggerAddress": browser.address},
        "pageLoadStrategy": "normal",
        "platformName": sys.platform,
        "setWindowRect": True,
        "timeouts": {"implicit": 0, "pageLoad": 300_000, "script": 30_000},
        "unhandledPromptBehavior": "dismiss and notify",
    }
    if browser.process is not None:
        granted["goog:processID"] = browser.process.pid
    standard = {
        name: value for name, value in requested.items() if name in granted and name != "goog:chromeOptions"
    }
    if "user-data-dir" in str(options.get("args")):
        granted["chrome"] = {"chromedriverVersion": VERSION, "userDataDir": _profile(options["args"])}
    return granted | standard


def _profile(arguments: list[str]) -> str:
    return next(part.partition("=")[2] for part in arguments if part.lstrip("-").startswith("user-data-dir="))


def _result(command: list[str], method: str, browser: Browser) -> object:
    if command == ["url"]:
        return None if method == "POST" else "data:,"
    if command == ["timeouts"] and method == "GET":
        return {"implicit": 0, "pageLoad": 300_000, "script": 30_000}
    if command[:1] == ["goog"] or command[-1:] == ["execute"]:
        return {}
    if command[:1] == ["window"] and method == "GET":
        return [browser.page()] if command[-1] == "handles" else browser.page()
    return "" if command == ["title"] else None


def _run_driver(port: int, log_path: str | None) -> None:
    if current_fault() is Fault.REFUSES_TO_START:
        sys.exit(START_ERROR)
    if current_fault() is Fault.IGNORES_TERM:
        _ignore_term()
    taken = current_fault() is Fault.PORT_TAKEN
    if log_path:
        Path(log_path).write_text(f"[SEVERE]: {BIND_FAILED}\n" if taken else "", encoding="utf-8")
    if taken:
        sys.stdout.write("IPv4 port not available. Exiting...\n")
        sys.exit(1)
    server = Server(("127.0.0.1", port), DriverHandler)
    sys.stdout.write(f"Starting ChromeDriver {VERSION} (fake) on port {port}\n")
    if current_fault() is not Fault.NEVER_READY:
        sys.stdout.write(f"ChromeDriver was started successfully on port {server.server_address[1]}.\n")
    sys.stdout.flush()
    server.run()


def _ignore_term() -> None:
    import signal  # noqa: PLC0415 - the only use

    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def main(arguments: list[str]) -> None:
    """Run the fake ChromeDriver."""
    global BROWSER, URL_BASE
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log-path")
    parser.add_argument("--url-base", default="")
    parser.add_argument("--browser", default=sys.executable)
    parser.add_argument("--version", action="store_true")
    options, _ = parser.parse_known_args(arguments)
    BROWSER, URL_BASE = options.browser, options.url_base
    if options.version:
        sys.stdout.write(f"ChromeDriver {VERSION} (fake)\n")
    else:
        _run_driver(options.port, options.log_path)


if __name__ == "__main__":
    main(sys.argv[1:])
