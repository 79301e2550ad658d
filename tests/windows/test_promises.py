"""What Drover promises, with the real ChromeDriver and a real Chromium on Windows: natively or under Wine."""

from __future__ import annotations

import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests
from websockets.sync.client import connect

from tests.acceptance import faults
from tests.acceptance.cleanups import clean, verdicts
from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import (
    ANSWER_S,
    WINE,
    Json,
    Service,
    expect,
    expect_error,
    folder_of,
    pids_of,
    refused_start,
    running,
)
from tests.machine import (
    IS_WINE,
    PATIENCE,
    command_line,
    connect_and_reset,
    free_port,
    is_listening,
    is_living,
    kill,
    living,
    marked,
    remove,
    run_concurrently,
    short_folder,
    wait_gone,
    wait_until,
)
from tests.windows.programs import run_app

pytestmark = pytest.mark.skipif(os.name != "nt", reason="run them with tests/windows/world test")

CLIENTS = 20
RESETS = 40
TEMPORARY = 75
NEWER_DRIVER = Path(r"Z:\w\newer\chromedriver.exe")


@pytest.fixture
def session(service: Service, pages: Pages) -> Json:
    """Return a session with a page in which a script has stored a value."""
    session = service.create(session_id="session")
    client = Driver(session)
    client.open(pages.url("/form"))
    client.run("window.left = 42")
    return session


def test_every_process_of_a_session_in_a_folder_with_spaces_is_protected(
    service: Service, session: Json
) -> None:
    rows = verdicts(service)
    assert "José Müller" in str(folder_of(session))
    assert {rows[pid]["verdict"] for pid in pids_of(session) if pid in rows} == {"protected"}
    assert rows[session["driver"]["pid"]]["session_id"] == "session"
    answer = clean(service)
    assert answer["killed_count"] == 0
    assert Driver(session).run("return window.left") == 42


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_it_answers_on_both_loopback_addresses(service: Service, host: str) -> None:
    with requests.Session() as client:
        client.trust_env = False
        expect(client.get(f"http://{host}:{service.port}/sessions", timeout=30))


def test_a_screenshot_and_devtools_show_the_page(service: Service, session: Json) -> None:
    picture = service.get("/sessions/session/screenshot")
    assert picture.content.startswith(b"\x89PNG")
    with connect(f"ws://127.0.0.1:{service.port}/sessions/session/cdp", proxy=None, max_size=None) as socket:
        socket.send(json.dumps({"id": 7, "method": "Browser.getVersion"}))
        while (answer := json.loads(socket.recv(timeout=60))).get("id") != 7:
            continue
    assert "Chrome/" in answer["result"]["product"]


def test_twenty_clients_with_one_key_share_one_browser(service: Service) -> None:
    ask = partial(service.post, "/sessions", json={"key": "account-17"})
    answers = [answer.json() for answer in run_concurrently([ask] * CLIENTS)]
    assert {answer["session"]["session_id"] for answer in answers} == set(service.listed())
    assert sum(answer["created"] for answer in answers) == 1
    assert len(faults.browsers(service)) == 1


def test_a_killed_chromedriver_is_replaced_and_the_page_is_kept(service: Service, session: Json) -> None:
    since = service.mark()
    faults.kill(session["driver"]["pid"])
    answer = expect(service.get("/sessions/session"))
    assert (answer["recovery"]["cause"], answer["recovery"]["method"]) == ("driver_gone", "reattached")
    assert answer["session"]["browser"] == session["browser"]
    assert Driver(answer["session"]).run("return window.left") == 42
    service.expect_log(
        ["WARNING: Session session appears dead: .+", "WARNING: 🔧 Connection error .+"], since
    )


def test_a_command_after_a_killed_chromedriver_is_answered(service: Service, session: Json) -> None:
    faults.kill(session["driver"]["pid"])
    answer = service.get("/wd/hub/session/session/url")
    assert answer.status_code == requests.codes.ok, answer.text
    assert answer.json()["value"].endswith("/form")


def test_a_killed_chrome_is_restored_with_its_address_and_cookies(
    service: Service, session: Json, pages: Pages
) -> None:
    client = Driver(session)
    client.add_cookie("memory", "gone with the browser")
    client.add_cookie("lasting", "for an hour", expiry=int(time.time()) + 3600)
    wait_until_saved()
    faults.kill(session["browser"]["pid"])
    answer = expect(service.get("/sessions/session"))
    assert (answer["recovery"]["cause"], answer["recovery"]["method"]) == ("browser_gone", "restored")
    client = Driver(answer["session"])
    assert client.address() == pages.url("/form")
    assert client.cookies() == {"memory": "gone with the browser", "lasting": "for an hour"}


def test_a_suspended_chromedriver_is_replaced_and_the_page_is_kept(service: Service, session: Json) -> None:
    faults.stop(session["driver"]["pid"])
    answer = expect(service.get("/sessions/session"))
    assert (answer["recovery"]["cause"], answer["recovery"]["method"]) == ("driver_hung", "reattached")
    assert not is_living(session["driver"]["pid"])
    assert Driver(answer["session"]).run("return window.left") == 42


def test_a_deleted_session_leaves_no_process_and_no_folder(service: Service, session: Json) -> None:
    pids, folder = pids_of(session), folder_of(session)
    expect(service.delete("/sessions/session"))
    assert living(pids) == set()
    assert not folder.exists()


def test_a_session_whose_file_is_held_is_closed_when_the_file_is_let_go(
    service: Service, session: Json
) -> None:
    folder, since = folder_of(session), service.mark()
    with (folder / "d" / "held.txt").open("wb"):
        for _ in range(2):
            expect_error(service.delete("/sessions/session"), 500, "cleanup_incomplete")
        assert service.listed()["session"]["state"] == "closing"
        # It is tried again every few seconds, and said once.
        assert sum("could not be removed" in line for line in service.logs(since)) == 1
    wait_until(lambda: not service.listed(), "the session is closed", 60 * PATIENCE)
    assert not folder.exists()


@pytest.mark.parametrize("part", ["t", "p", "d"])
def test_a_file_held_in_the_temporary_folder_the_profile_or_the_downloads_costs_no_profile(
    service: Service, session: Json, part: str
) -> None:
    Driver(session).run("localStorage.setItem('local', 'kept')")
    wait_until_saved()
    profile = folder_of(session) / "p"
    with (folder_of(session) / part / "held.txt").open("wb"):
        faults.kill(session["browser"]["pid"])
        service.get("/sessions/session")
        assert (profile / "Local State").exists()
    after = wait_until(lambda: recovered(service), "the session is recovered", 60 * PATIENCE)
    assert after is not None
    assert Driver(after).run("return localStorage.getItem('local')") == "kept"


def recovered(service: Service) -> Json | None:
    """Return the session if it is healthy again."""
    answer = service.get("/sessions/session")
    if answer.status_code != requests.codes.ok:
        return None
    session: Json = answer.json()["session"]
    return session


def test_clients_that_hang_up_before_they_are_accepted_cost_nobody_the_port(service: Service) -> None:
    for _ in range(RESETS):
        connect_and_reset(("127.0.0.1", service.port))
    expect(service.get("/sessions", timeout=30))


def test_chrome_that_has_lost_its_chromedriver_is_an_orphan(
    service: Service, session: Json, folder: Path
) -> None:
    port = free_port()
    driver = subprocess.Popen(
        [psutil.Process(session["driver"]["pid"]).exe(), f"--port={port}", f"--log-path={folder / 'log'}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: is_listening(port), "the foreign ChromeDriver listens")
    options = {
        "binary": psutil.Process(session["browser"]["pid"]).exe(),
        "args": [
            *(str(WINE["chrome_args"]).split() if IS_WINE else ()),
            f"--user-data-dir={folder / 'profile'}",
        ],
    }
    with requests.Session() as client:
        client.trust_env = False
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        assert client.post(f"http://127.0.0.1:{port}/session", json=wanted, timeout=ANSWER_S).ok
    (browser,) = (
        process.pid
        for process in marked(folder)
        if process.pid != driver.pid and "--type=" not in command_line(process)
    )
    faults.kill(driver.pid)
    report = json.loads(run_app(folder, "cleanup", "--dry-run", "--json").stdout)
    reasons = {one["pid"]: one["reason"] for one in report["killed"]}
    assert reasons[browser] == f"its ChromeDriver (PID {driver.pid}) has ended"
    assert not reasons.keys() & pids_of(session)
    kill(marked(folder))
    driver.wait()


def test_emergency_recovery_ends_every_chrome_and_the_service_goes_on(
    service: Service, session: Json
) -> None:
    pids = pids_of(session)
    answer = expect(service.post("/emergency_recovery"))
    assert answer["killed_count"] >= 2
    assert answer["active_sessions"] == 0
    wait_gone(pids)
    assert service.listed() == {}
    service.create()


def test_names_of_devices_are_refused_as_names_of_uploads(service: Service, session: Json) -> None:
    for name in ("NUL", "CON", "COM1", "aux.txt"):
        body = {"name": name}
        answer = service.post("/wd/hub/session/session/se/files", json=body)
        assert answer.status_code == requests.codes.bad_request, (name, answer.text)


def test_a_second_instance_on_the_folder_or_the_port_ends_with_75(service: Service) -> None:
    for settings in ({"data_dir": service.data_dir}, {"port": service.port}):
        folder = short_folder()
        code, lines = refused_start(folder, **settings)
        remove(folder)
        assert code == TEMPORARY, lines


def test_a_killed_service_adopts_its_browsers_at_the_next_start(pages: Pages) -> None:
    with running() as service:
        before = service.create(session_id="session")
        Driver(before).open(pages.url("/form"))
        Driver(before).run("window.left = 42")
        service.kill()
        service.start()
        after = service.listed()["session"]
        assert after["browser"]["pid"] == before["browser"]["pid"]
        assert Driver(after).run("return window.left") == 42


def test_ctrl_c_stops_in_order_and_a_key_finds_its_cookies_at_the_next_start(pages: Pages) -> None:
    with running() as service:
        client = Driver(service.create(key="account-17"))
        client.open(pages.url("/form"))
        client.add_cookie("memory", "kept")
        wait_until_saved()
        assert service.stop() == 0
        assert service.processes() == []
        service.start()
        again = expect(service.post("/sessions", json={"key": "account-17"}), 201)["session"]
        client = Driver(again)
        client.open(pages.url("/form"))
        assert client.cookies() == {"memory": "kept"}


def test_a_dotenv_file_with_a_bom_and_backslashes_is_read_as_written() -> None:
    folder = short_folder()
    path = r"C:\tools\new\chromedriver.exe"
    (folder / ".env").write_text(f'DROVER_CHROMEDRIVER="{path}"\n', encoding="utf-8-sig")
    done = run_app(folder, "doctor")
    assert path.replace("\\", "\\\\") in done.stdout or path in done.stdout, done
    remove(folder)


def test_switches_with_backslashes_reach_chrome_as_written(pages: Pages) -> None:
    wanted = r"--user-agent=C:\Users\me\ext"
    args = f"{WINE['chrome_args']} {wanted}" if IS_WINE else wanted
    with running(chrome_args=args) as service:
        session = service.create()
        assert wanted in psutil.Process(session["browser"]["pid"]).cmdline()


def test_commands_print_whatever_the_console_encodes() -> None:
    folder = short_folder()
    for encoding, command, codes in (
        ("cp437", "--version", {0}),
        ("cp437", "doctor", {0, 4}),
        ("cp1252", "processes", {0}),
        ("cp1252", "cleanup --dry-run", {0, 4}),
    ):
        done = run_app(folder, *command.split(), encoding=encoding)
        assert done.returncode in codes, (encoding, done)
        assert "Traceback" not in done.stderr
    remove(folder)


@pytest.mark.skipif(not NEWER_DRIVER.exists(), reason="needs the programs of tests/windows/world")
def test_a_chromedriver_of_another_version_is_refused_in_words() -> None:
    folder = short_folder()
    done = run_app(folder, "doctor", chromedriver=NEWER_DRIVER)
    remove(folder)
    assert "their major versions must be equal" in done.stdout, done
