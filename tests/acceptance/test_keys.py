"""What is kept for keys: whole profiles, logins that travel, and the commands of an operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.clients import attached
from tests.acceptance.conftest import StartService
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import APP, Json, Service, expect, folder_of, variables
from tests.machine import wait_until

KEY: Final = "account-17"
WRITE: Final = """
const [value, done] = arguments;
const request = indexedDB.open('app', 1);
request.onupgradeneeded = () => request.result.createObjectStore('logins');
request.onsuccess = () => {
    const change = request.result.transaction('logins', 'readwrite');
    change.objectStore('logins').put(value, 'token');
    change.oncomplete = () => { request.result.close(); done('written'); };
};
"""
READ: Final = """
const done = arguments[0];
const request = indexedDB.open('app', 1);
request.onupgradeneeded = () => request.transaction.abort();
request.onerror = () => done(null);
request.onsuccess = () => {
    const found = request.result.transaction('logins').objectStore('logins').get('token');
    found.onsuccess = () => { request.result.close(); done(found.result ?? null); };
};
"""


def log_in(service: Service, session: Json, pages: Pages, token: str) -> None:
    """Leave a login in IndexedDB, in a session cookie and in local storage."""
    with attached(service, session["session_id"]) as driver:
        driver.get(pages.url("/form"))
        assert driver.execute_async_script(WRITE, token) == "written"
        driver.add_cookie({"name": "sid", "value": token})
        driver.execute_script("localStorage.setItem('token', arguments[0])", token)
    wait_until_saved()


def login(service: Service, session: Json, pages: Pages) -> tuple[object, object, object]:
    """Return the login as IndexedDB, the cookie and local storage have it."""
    with attached(service, session["session_id"]) as driver:
        driver.get(pages.url("/form"))
        cookie = driver.get_cookie("sid")
        return (
            driver.execute_async_script(READ),
            cookie and cookie["value"],
            driver.execute_script("return localStorage.getItem('token')"),
        )


def keys(service: Service) -> dict[str, Json]:
    """Return what is kept by key."""
    return {one["key"]: one for one in expect(service.get("/keys"))["keys"]}


def command(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line with the settings of a service."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DROVER_")}
    return subprocess.run(
        [sys.executable, str(APP), *arguments],
        env=clean | variables(**service.settings),
        cwd=service.folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.exhaustive
def test_a_whole_profile_outlives_its_session_and_a_restart(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(watch_interval=0)
    session = service.create(key=KEY, profile="keep")
    assert session["profile"] == "keep"
    log_in(service, session, pages, "first")
    expect(service.delete(f"/sessions/{session['session_id']}?keep=true"))
    kept = keys(service)[KEY]
    assert kept["profile"] == "keep"
    assert kept["size_mb"] > 0.1
    service.stop()
    service.start()
    again = service.create(key=KEY, profile="keep")
    assert login(service, again, pages) == ("first", "first", "first")
    log_in(service, again, pages, "second")
    service.stop()
    assert KEY in command(service, "keys").stdout
    service.start()
    assert keys(service)[KEY]["profile"] == "keep"
    assert login(service, service.create(key=KEY, profile="keep"), pages) == ("second", "second", "second")


@pytest.mark.exhaustive
def test_a_profile_outlives_a_kill_of_everything(start_service: StartService, pages: Pages) -> None:
    service = start_service(watch_interval=0)
    session = service.create(key=KEY, profile="keep")
    log_in(service, session, pages, "first")
    expect(service.delete(f"/sessions/{session['session_id']}?keep=true"))
    service.create(key=KEY, profile="keep")
    service.kill()
    for process in service.processes():
        process.kill()
    service.start()
    assert login(service, expect(service.post("/sessions", json={"key": KEY}))["session"], pages) == (
        "first",
        "first",
        "first",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_only_the_user_of_the_service_can_read_what_is_kept(service: Service, pages: Pages) -> None:
    session = service.create(key="private", profile="keep")
    log_in(service, session, pages, "first")
    expect(service.delete(f"/sessions/{session['session_id']}?keep=true"))
    assert (service.data_dir / "k").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (service.data_dir / "k").iterdir())
    expect(service.delete("/keys/private"))


@pytest.mark.exhaustive
def test_a_deleted_session_and_a_deleted_key_leave_nothing(service: Service, pages: Pages) -> None:
    for name, forget in (("a", "/sessions/a"), ("b", "/keys/b")):
        session = service.create(session_id=name, key=name, profile="keep")
        log_in(service, session, pages, "first")
        if forget.startswith("/keys"):
            expect(service.delete(f"/sessions/{name}?keep=true"))
            assert name in keys(service)
        expect(service.delete(forget))
        assert name not in keys(service)
        again = service.create(session_id=name, key=name, profile="keep")
        assert login(service, again, pages) == (None, None, None)
        expect(service.delete(f"/sessions/{name}"))
    assert expect(service.delete("/keys/b"), 404)["code"] == "not_found"


@pytest.mark.exhaustive
def test_a_fresh_session_of_the_key_makes_the_profile_worthless(service: Service, pages: Pages) -> None:
    session = service.create(session_id="one", key="k", profile="keep")
    log_in(service, session, pages, "first")
    expect(service.delete("/sessions/one?keep=true"))
    fresh = service.create(session_id="two", key="k", profile="fresh")
    assert login(service, fresh, pages) == (None, "first", "first")
    wait_until_saved()
    expect(service.delete("/sessions/two?keep=true"))
    assert keys(service)["k"]["profile"] == "fresh"
    expect(service.delete("/keys/k"))


@pytest.mark.exhaustive
def test_a_profile_of_a_newer_chrome_is_set_aside_and_the_state_is_restored(
    service: Service, pages: Pages
) -> None:
    session = service.create(session_id="newer", key="newer", profile="keep")
    log_in(service, session, pages, "first")
    expect(service.delete("/sessions/newer?keep=true"))
    (profile,) = (path for path in (service.data_dir / "k").iterdir() if (path / "about.json").exists())
    (profile / "p" / "Last Version").write_text("999.0.0.0", encoding="ascii")
    mark = service.mark()
    again = service.create(session_id="newer", key="newer", profile="keep")
    assert login(service, again, pages) == (None, "first", "first")
    service.wait_for_log("Chrome refuses the profile that was kept for key newer", mark)
    assert Path(folder_of(again), "p").is_dir()
    expect(service.delete("/sessions/newer"))


@pytest.mark.exhaustive
def test_the_least_recently_used_profile_is_removed_beyond_the_limit_but_not_its_login(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(max_kept_mb=1, profile="keep")
    session = service.create(session_id="large", key="large")
    assert session["profile"] == "keep"
    with attached(service, "large") as driver:
        driver.get(pages.url("/form"))
        assert driver.execute_async_script(WRITE, "x" * 2_000_000) == "written"
        driver.add_cookie({"name": "sid", "value": "first"})
    wait_until_saved()
    expect(service.delete("/sessions/large?keep=true"))
    wait_until(lambda: keys(service)["large"]["profile"] == "fresh", "the profile is removed", 30)
    service.wait_for_log("Kept profiles of 1 keys were removed")
    assert login(service, service.create(key="large"), pages)[:2] == (None, "first")


@pytest.mark.exhaustive
def test_a_login_travels_as_playwright_storage_state(service: Service, pages: Pages) -> None:
    source = service.create(session_id="desktop", key="desktop")
    with attached(service, "desktop") as driver:
        driver.get(pages.url("/form"))
        # Half of a surrogate pair, as in the compressed data that some web sites store.
        driver.execute_script(r"localStorage.setItem('packed', '\ud83d')")
    log_in(service, source, pages, "first")
    state = service.get("/keys/desktop/state").json()
    assert set(state) == {"cookies", "origins"}
    assert [(one["name"], one["value"], one["expires"]) for one in state["cookies"]] == [("sid", "first", -1)]
    for origin in state["origins"]:
        origin["localStorage"].sort(key=lambda one: one["name"])
    packed, token = state["origins"][0]["localStorage"]
    assert (packed["value"], token) == ("\ud83d", {"name": "token", "value": "first"})
    refused = expect(service.put("/keys/desktop/state", json=state), 409)
    assert refused["code"] == "session_in_use"
    expect(service.put("/keys/of%2Fthe%20server/state", json=state))
    assert keys(service)["of/the server"]["profile"] == "fresh"
    assert json.loads(service.get("/keys/of%2Fthe%20server/state").text) == state
    target = service.create(session_id="server", key="of/the server")
    assert login(service, target, pages) == (None, "first", "first")
    with attached(service, "server") as driver:
        assert driver.execute_script("return localStorage.getItem('packed').charCodeAt(0)") == 0xD83D
    expect(service.delete("/sessions/server"))
    assert expect(service.get("/keys/of%2Fthe%20server/state"), 404)["code"] == "not_found"


@pytest.mark.exhaustive
def test_a_login_that_is_put_replaces_the_profile(service: Service, pages: Pages) -> None:
    session = service.create(session_id="old", key="put", profile="keep")
    log_in(service, session, pages, "first")
    expect(service.delete("/sessions/old?keep=true"))
    expect(service.put("/keys/put/state", json={"cookies": [], "origins": []}))
    again = service.create(session_id="new", key="put", profile="keep")
    assert login(service, again, pages) == (None, None, None)
    expect(service.delete("/sessions/new"))


def test_a_profile_without_a_key_is_refused(service: Service) -> None:
    answer = expect(service.post("/sessions", json={"profile": "keep"}), 400)
    assert answer["code"] == "invalid_request"
    assert "needs a key" in answer["error"]


@pytest.mark.exhaustive
def test_the_command_line_lists_and_forgets_keys(start_service: StartService, pages: Pages) -> None:
    service = start_service()
    for key in ("a", "b", "c"):
        expect(service.put(f"/keys/{key}/state", json={"cookies": [], "origins": []}))
    listed = json.loads(command(service, "keys", "--json").stdout)
    assert sorted(one["key"] for one in listed["keys"]) == ["a", "b", "c"]
    done = command(service, "purge", "a", "unknown")
    assert done.returncode == 1
    assert "Forgot what was kept for 1 key." in done.stdout
    assert "unknown" in done.stderr
    service.stop()
    assert command(service, "purge", "b").returncode == 0
    listed = json.loads(command(service, "keys", "--json").stdout)
    assert [one["key"] for one in listed["keys"]] == ["c"]
    assert command(service, "purge", "--all").returncode == 0
    assert "Nothing is kept for any key." in command(service, "keys").stdout
