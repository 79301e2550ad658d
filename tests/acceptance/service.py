"""The service under test: a separate process, used over HTTP, judged by its answers and its log."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import psutil
import requests

from tests.integration.fake_chromedriver import install
from tests.machine import (
    IS_WINE,
    PATIENCE,
    POLL_S,
    free_port,
    is_living,
    kill,
    marked,
    own_group,
    press_ctrl_c,
    remove,
    run_concurrently,
    short_folder,
    wait_until,
)

Json: TypeAlias = dict[str, Any]

APP: Final = Path(__file__).resolve().parents[2] / "app.py"
START_S: Final = 20.0 * PATIENCE
STOP_S: Final = 10.0 * PATIENCE
ANSWER_S: Final = 60.0 * PATIENCE
LOG_S: Final = 5.0
WINE: Final = {
    "headless": 0,
    "chrome_args": "--no-sandbox --disable-gpu --in-process-gpu --url=about:blank",
}
"""What the Chromium needs that `tests/windows/world` runs under Wine."""
GRACE_S: Final = 86_400.0
"""Longer than `cleanups.LONG_AGO_S`: no other test's service ends what a test leaves behind."""
REQUEST: Final = re.compile(r" \(request \S+ from \S+\)$")
JOB_TRACE: Final = " DEBUG: Stack trace of the failed job"
STAMP: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")


class Service:
    """One instance of the service on a free port, with its own data folder.

    Args:
        folder: A short folder, in which the service runs; its data folder is `d` in it unless that is set.
        settings: Settings by their name in lower case, without the prefix.

    Attributes:
        reads_log: While it is not set, what the service writes to its log stays unread.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.port = free_port()
        self.data_dir = Path(str(settings.get("data_dir", folder / "d")))
        # A foreign ChromeDriver on the developer's machine must not affect the tests.
        defaults = {"cleanup_scope": "owned", "adopt_grace": GRACE_S} | (WINE if IS_WINE else {})
        places = {"port": self.port, "data_dir": self.data_dir}
        self.settings: dict[str, object] = places | defaults | settings
        self.environment: dict[str, str] = {}
        self.command = [sys.executable, str(APP)]
        self.pass_fds: tuple[int, ...] = ()
        self._process: subprocess.Popen[str] | None = None
        self._collector = threading.Thread()
        self._lines: list[str] = []
        self._grown = threading.Condition()
        self.reads_log = threading.Event()
        self.reads_log.set()

    def start(self, timeout: float = START_S) -> Service:
        """Start it and wait until it answers GET /health with 200, and GET /ready not with `starting`."""
        self.launch()
        wait_until(self._is_ready, "the service answers GET /health with 200", timeout)
        return self

    def launch(self) -> None:
        """Start it without waiting for anything."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DROVER_")}
        self._process = subprocess.Popen(
            self.command,
            env=clean | self.environment | variables(**self.settings),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            pass_fds=self.pass_fds,
            **own_group(),
        )
        self._collector = threading.Thread(target=self._collect, args=(self._process,), daemon=True)
        self._collector.start()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The running process, or the one that ended last."""
        assert self._process is not None, "the service was never started"
        return self._process

    @property
    def url(self) -> str:
        """The base URL over IPv4."""
        return f"http://127.0.0.1:{self.port}"

    def is_running(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def request(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send one request; options are those of `requests.request`."""
        with requests.Session() as client:
            client.trust_env = False
            options = {"timeout": ANSWER_S, "allow_redirects": False} | options
            return client.request(method, self.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send a GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send a POST."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send a PUT."""
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send a DELETE."""
        return self.request("DELETE", path, **options)

    def create(self, **fields: object) -> Json:
        """Create a session and return the session object."""
        session: Json = expect(self.post("/sessions", json=fields), 201)["session"]
        return session

    def listed(self) -> dict[str, Json]:
        """Return the session objects of GET /sessions by id."""
        return {
            session["session_id"]: session for session in expect(self.get("/sessions", timeout=5))["sessions"]
        }

    def report(self, session_id: str) -> Json:
        """Return the session object as it is, without a recovery."""
        session: Json = expect(self.get(f"/sessions/{session_id}?recover=false"))["session"]
        return session

    def close_all(self) -> None:
        """Close every session of the list."""
        closings = [partial(self.delete, f"/sessions/{session_id}") for session_id in self.listed()]
        for response in run_concurrently(closings) if closings else []:
            assert response.status_code in {requests.codes.ok, requests.codes.not_found}, response.text

    def mark(self) -> int:
        """Return the current length of the log, in lines."""
        with self._grown:
            return len(self._lines)

    def logs(self, since: int = 0) -> list[str]:
        """Return the lines on standard error from `since` on, unchanged."""
        with self._grown:
            return self._lines[since:]

    def messages(self, since: int = 0) -> list[str]:
        """Return the lines of the log from `since` on, without their timestamps and their requests."""
        return [REQUEST.sub("", STAMP.sub("", line, count=1)).lstrip() for line in self.logs(since)]

    def wait_for_log(self, text: str, since: int = 0, timeout: float = 10.0) -> str:
        """Wait until a line contains `text`, and return that line."""
        deadline = time.monotonic() + timeout
        with self._grown:
            while True:
                found = next((line for line in self._lines[since:] if text in line), None)
                if found is not None:
                    return found
                assert self._grown.wait(deadline - time.monotonic()), f"no {text!r} in {self._lines[since:]}"

    def expect_log(self, patterns: Sequence[str], since: int = 0) -> None:
        """Wait until the messages match all patterns in order; other messages may stand in between."""
        deadline = time.monotonic() + LOG_S
        while (missing := first_missing(self.messages(since), patterns)) is not None:
            with self._grown:
                grown = self._grown.wait(min(POLL_S, deadline - time.monotonic()))
            assert grown or time.monotonic() < deadline, (
                f"no {missing!r} in its place in {self.messages(since)}"
            )

    def processes(self) -> list[psutil.Process]:
        """Return the living processes that name the data folder on their command line."""
        return marked(self.data_dir)

    def session_folders(self) -> list[Path]:
        """Return the session folders on disk."""
        home = self.data_dir / "s"
        return sorted(home.iterdir()) if home.exists() else []

    def send(self, number: signal.Signals) -> None:
        """Send one signal to the service only."""
        self.process.send_signal(number)

    def interrupt(self) -> None:
        """Send what Ctrl-C in a terminal sends, to every program of this terminal."""
        press_ctrl_c(self.process.pid)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_S) -> int:
        """Request a stop, on Windows by Ctrl-C, wait for its end, and return its exit code."""
        if os.name == "nt":
            self.interrupt()
        else:
            self.send(number)
        return self.wait_for_exit(timeout)

    def wait_for_exit(self, timeout: float = STOP_S) -> int:
        """Wait until the process has ended and its log was read, and return its exit code."""
        code = self.process.wait(timeout)
        self._collector.join(LOG_S)
        return code

    def kill(self) -> None:
        """End the service as the kernel's out-of-memory killer does; its browsers live on."""
        self.process.kill()
        self.process.wait(STOP_S)

    def finish(self) -> None:
        """Stop it if it still runs, and check that the stop was clean."""
        if self.is_running():
            assert self.stop() == 0, self.logs()
            assert_nothing_left(self)

    def reap(self) -> None:
        """End everything that is left of it, and remove its folder."""
        if self.is_running():
            self.kill()
        kill(marked(self.folder))
        remove(self.folder)

    def _is_ready(self) -> bool:
        assert self.is_running(), f"the service ended with {self.process.poll()}: {self.logs()}"
        try:
            health, readiness = self.get("/health", timeout=2), self.get("/ready", timeout=2)
        except requests.RequestException:
            return False
        return bool(health.status_code == requests.codes.ok and readiness.json().get("status") != "starting")

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.reads_log.wait()
            with self._grown:
                self._lines.append(line.rstrip("\r\n"))
                self._grown.notify_all()
        process.stderr.close()


@contextlib.contextmanager
def running(**settings: object) -> Iterator[Service]:
    """Run a service in a short folder, check that it stops cleanly, and leave nothing of it."""
    with running_in(short_folder(), **settings) as service:
        yield service


@contextlib.contextmanager
def running_in(folder: Path, /, **settings: object) -> Iterator[Service]:
    """Run a service in a folder, check that it stops cleanly, and leave nothing of it."""
    service = Service(folder, **settings)
    try:
        yield service.start()
        service.finish()
    finally:
        service.reap()


@contextlib.contextmanager
def running_on_fakes(**settings: object) -> Iterator[Service]:
    """Run a service with fake browsers, which start at once."""
    home = short_folder()
    with running(chromedriver=install(home), **settings) as service:
        yield service
    remove(home)


def variables(**settings: object) -> dict[str, str]:
    """Convert settings to environment variables."""
    return {f"DROVER_{name.upper()}": str(value) for name, value in settings.items()}


def refused_start(folder: Path, *arguments: str, **settings: object) -> tuple[int, list[str]]:
    """Start a service that must not come up; return its exit code and its lines on standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DROVER_")}
    defaults = {"port": free_port(), "data_dir": folder / "d", "cleanup_scope": "owned"}
    done = subprocess.run(
        [sys.executable, str(APP), *arguments],
        env=clean | variables(**(defaults | settings)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=START_S,
        check=False,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if line.strip()]


def expect(response: requests.Response, status: int = 200) -> Json:
    """Check an answer's status and its `success` field, and return the JSON object."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:1000]}"
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    assert isinstance(body, dict)
    assert body["success"] is (status < requests.codes.bad_request), body
    return body


def expect_error(response: requests.Response, status: int, code: str) -> str:
    """Check that an answer is a well-formed failure, and return its error message."""
    body = expect(response, status)
    assert body["code"] == code, body
    assert body["error"].strip()
    assert "Traceback" not in body["error"]
    if status == requests.codes.unavailable:
        assert int(response.headers["Retry-After"]) > 0
    return str(body["error"])


def assert_nothing_left(service: Service) -> None:
    """Assert that a service that ended left no process, no session folder and no stack trace."""
    assert service.processes() == []
    assert service.session_folders() == []
    assert_no_trace(service)


def assert_no_trace(service: Service) -> None:
    """Assert that the log contains no unexpected stack trace."""
    assert unexpected_traces(service.logs()) == []


def unexpected_traces(lines: Sequence[str]) -> list[str]:
    """Return the line of each stack trace, except those of failed jobs, which are at debug level."""
    found, record = [], ""
    for line in lines:
        if STAMP.match(line):
            record = line
        elif line.startswith("Traceback") and JOB_TRACE not in record:
            found.append(record)
    return found


def first_missing(lines: Sequence[str], patterns: Sequence[str]) -> str | None:
    """Return the first pattern that no line matches after the match of the previous pattern."""
    rest = iter(lines)
    return next(
        (pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in rest)), None
    )


def folder_of(session: Json) -> Path:
    """Return a session's folder, as its ChromeDriver's command line shows it."""
    arguments = psutil.Process(session["driver"]["pid"]).cmdline()
    log = next(argument for argument in arguments if argument.startswith("--log-path="))
    return Path(log.removeprefix("--log-path=")).parent


def pids_of(session: Json) -> set[int]:
    """Return every living process of a session: the two trees, and what names its folder."""
    folder = folder_of(session)
    roots = psutil.Process(session["driver"]["pid"]).children(recursive=True)
    found = {
        session["driver"]["pid"],
        *(child.pid for child in roots),
        *(process.pid for process in marked(folder)),
    }
    return {pid for pid in found if is_living(pid)}
