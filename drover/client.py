"""A client for scripts: sessions, leases and logins of a Drover, with Python's standard library alone.

    from drover.client import Drover

    with Drover("http://localhost:5010").session(key="account-17", lease=60) as session:
        session.driver.get("https://example.org/")

Every method retries as `Retry-After` says while the answer is 503, and raises an error whose class tells what
happened. A lease is renewed in the background. Selenium is imported only for `session.driver`.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

JsonObject = dict[str, Any]
TIMEOUT_S = 150.0
"""How long one request waits for its answer; the service answers within two minutes."""


class DroverError(Exception):
    """The service refused a request, or could not be reached.

    Attributes:
        code: The error code of the answer, such as `at_capacity`; empty if there was no answer.
        details: What is wrong with each field, by its name.
        retry_after_s: Seconds after which a retry may succeed, if known.
        request_id: Names the request in the log of the service.
    """

    code = ""
    details: Mapping[str, str] = {}
    retry_after_s: float | None = None
    request_id: str | None = None


class Unreachable(DroverError):
    """The service does not answer."""


class InvalidRequest(DroverError):
    """The request has a wrong value; `details` names the fields."""


class NotPermitted(DroverError):
    """The token is missing or wrong, or a capability is not allowed."""


class NotFound(DroverError):
    """There is no such session, or nothing is kept for the key."""


class InUse(DroverError):
    """Another client holds the lease, the key has a session, or id and key name two different sessions."""


class Unavailable(DroverError):
    """The service could not do it in time: no browser, no disk, or it is stopping."""


class AtCapacity(Unavailable):
    """All sessions are in use, or memory is short."""


class RecoveryFailed(Unavailable):
    """The session is dead and could not be recovered."""


class LeaseLost(DroverError):
    """The lease ended although it was being renewed: another client may use the session."""


_BY_CODE = {"at_capacity": AtCapacity, "recovery_failed": RecoveryFailed}
_BY_STATUS = {401: NotPermitted, 403: NotPermitted, 404: NotFound, 409: InUse, 503: Unavailable}


class Drover:
    """A Drover service.

    Args:
        url: Its address.
        token: Its `DROVER_API_TOKEN`, if it has one.
        patience: How long a method retries while the answer is 503, in seconds.
    """

    def __init__(
        self, url: str = "http://localhost:5010", token: str | None = None, *, patience: float = 120.0
    ) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError(f"{url!r} is no http or https address")
        self.url = url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._patience = patience
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def session(self, *, lease: float | None = None, holder: str | None = None, **fields: object) -> Session:
        """Get or create a session.

        Args:
            lease: Hold a lease of so many seconds, which is renewed until the session is left.
            holder: Who holds the lease, for people.
            fields: The other fields of `POST /sessions`, such as session_id, key, url and profile.
        """
        body = dict(fields)
        if lease is not None:
            body["lease"] = {"ttl": lease} | ({"holder": holder} if holder is not None else {})
        answer = self.request("POST", "/sessions", body)
        is_nameless = fields.get("session_id") is None and fields.get("key") is None
        return Session(self, answer, lease, closes=bool(answer["created"]) and is_nameless)

    def login(self, key: str) -> JsonObject:
        """Return the login of a key, as Playwright's `storageState`."""
        return self.request("GET", f"/keys/{quote(key, safe='')}/state")

    def put_login(self, key: str, state: Mapping[str, object]) -> None:
        """Keep a login, as Playwright's `storageState`, for the next session of a key."""
        self.request("PUT", f"/keys/{quote(key, safe='')}/state", state)

    def request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> JsonObject:
        """Send a request to any route, again while the answer is 503 and there is time; return the JSON.

        Raises:
            DroverError: The service refused it, or cannot be reached.
        """
        return dict(json.loads(self.fetch(method, path, body)))

    def fetch(
        self, method: str, path: str, body: Mapping[str, object] | None = None, token: str | None = None
    ) -> bytes:
        """Send a request as `request` does, with the token of a lease; return the body of the answer."""
        latest, was_reached = time.monotonic() + self._patience, False
        while True:
            try:
                return self.send(method, path, body, token)
            except (Unavailable, Unreachable) as error:
                pause = 1.0 if error.retry_after_s is None else error.retry_after_s
                # A service that has just asked for a retry may be restarting.
                was_reached |= isinstance(error, Unavailable)
                if not was_reached or time.monotonic() + pause > latest:
                    raise
            time.sleep(pause)

    def send(self, method: str, path: str, body: Mapping[str, object] | None, token: str | None) -> bytes:
        """Send a request once, with the token of a lease; return the body of the answer."""
        headers = self.headers | ({"Lease-Token": token} if token is not None else {})
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self.url + path, method=method, headers=headers
        )
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with self._direct.open(request, timeout=TIMEOUT_S) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(
                f"{self.url} does not answer ({reason}). Check that Drover runs there."
            ) from error


class Session:
    """A session; leave it with a `with` block, which gives its lease back.

    A session with neither a key nor an id of its own is closed then, because no other client can find it.
    Others stay open for the next script.

    Attributes:
        id: Its id.
        info: The session object, as last answered.
        recovery: How it was recovered for the last request, if it was dead.
    """

    def __init__(self, drover: Drover, answer: JsonObject, lease: float | None, *, closes: bool) -> None:
        self.id: str = answer["session_id"]
        self.info: JsonObject = answer["session"]
        self.recovery: JsonObject | None = answer["recovery"]
        self._path = f"/sessions/{self.id}"
        self._drover = drover
        self._closes = closes
        self._driver: WebDriver | None = None
        self._lost: LeaseLost | None = None
        self._left = threading.Event()
        self._renewing = threading.Lock()
        self._token: str | None = answer["lease"]["token"] if lease is not None else None
        if lease is not None:
            threading.Thread(
                target=self._renew, args=(lease,), name=f"lease of {self.id}", daemon=True
            ).start()

    def __enter__(self) -> Session:  # noqa: PYI034 - `Self` needs Python 3.11
        """Return the session."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Return the lease, or close the session if no other client can find it."""
        try:
            self.close() if self._closes else self.release()
        except DroverError:
            # What happened in the `with` block matters more than a lease that ends by itself.
            if error is None:
                raise

    @property
    def driver(self) -> WebDriver:
        """Selenium's driver object on this session; `driver.quit()` ends the session and keeps its login.

        Raises:
            LeaseLost: The lease has ended, so another client may use the session.
        """
        if self._lost is not None:
            raise self._lost
        if self._driver is None:
            self._driver = _attached(f"{self._drover.url}/wd/hub", self._drover.headers, self.id)
        return self._driver

    def refresh(self) -> JsonObject:
        """Check the session, have it recovered if it is dead, and return its session object."""
        answer = self._drover.request("GET", self._path)
        self.info, self.recovery = answer["session"], answer["recovery"]
        return self.info

    def screenshot(self) -> bytes:
        """Return the page in front as PNG."""
        return self._drover.fetch("GET", f"{self._path}/screenshot")

    def release(self) -> None:
        """Return the lease, and leave the session open."""
        token, self._token = self._token, None
        self._stop_renewing()
        if token is not None and self._lost is None:
            self._drover.fetch("DELETE", f"{self._path}/lease", token=token)

    def close(self, *, keep: bool = False) -> None:
        """Close the session; `keep` keeps its login for the next session of its key."""
        self._stop_renewing()
        self._drover.request("DELETE", f"{self._path}{'?keep=true' if keep else ''}")

    def _stop_renewing(self) -> None:
        """Renew the lease no more, and wait for a renewal on its way: it would begin another lease."""
        self._left.set()
        with self._renewing:
            return

    def _renew(self, lease: float) -> None:
        """Renew the lease until the session is left; runs on a thread of its own."""
        token, expires = self._token, time.monotonic() + lease
        while not self._left.wait(lease / 3):
            begun = time.monotonic()
            with self._renewing:
                if self._left.is_set():
                    return
                try:
                    found = self._send_lease("POST", {"ttl": lease}, token)["lease"]["token"]
                except DroverError as error:
                    if isinstance(error, (Unavailable, Unreachable)) and time.monotonic() < expires:
                        continue
                    self._lost = LeaseLost(f"The lease of session {self.id} could not be renewed: {error}")
                    return
                if found != token:
                    self._lost = LeaseLost(f"The lease of session {self.id} had ended before it was renewed")
                    # Nothing would renew or return the one that has begun by that.
                    with suppress(DroverError):
                        self._send_lease("DELETE", None, found)
                    return
            expires = begun + lease

    def _send_lease(self, method: str, body: JsonObject | None, token: str | None) -> JsonObject:
        return dict(json.loads(self._drover.send(method, f"{self._path}/lease", body, token)))


def _refusal(error: urllib.error.HTTPError) -> DroverError:
    try:
        answer: JsonObject = json.load(error)
    except (ValueError, OSError):
        answer = {}
    code = str(answer.get("code", ""))
    usual = InvalidRequest if error.code < http.client.INTERNAL_SERVER_ERROR else DroverError
    kind = _BY_CODE.get(code) or _BY_STATUS.get(error.code, usual)
    found = kind(str(answer.get("error") or error))
    found.code, found.details = code, answer.get("details", {})
    after = error.headers.get("Retry-After", "")
    found.retry_after_s = float(after) if after.isdecimal() else None
    found.request_id = error.headers.get("X-Request-ID")
    return found


def _attached(remote_end: str, headers: Mapping[str, str], session_id: str) -> WebDriver:
    """Return Selenium's driver object for a session that exists."""
    from selenium import webdriver  # noqa: PLC0415 - scripts without a driver need no Selenium

    class Attached(webdriver.Remote):
        def start_session(self, *_: object, **__: object) -> None:
            self.session_id, self.caps = session_id, {"browserName": "chrome"}

    driver = Attached(remote_end, options=webdriver.ChromeOptions())
    connection: Any = driver.command_executor
    usual = connection.get_remote_connection_headers
    # Selenium warns of a token in the address.
    connection.get_remote_connection_headers = lambda *of, **more: {**usual(*of, **more), **headers}
    return driver
