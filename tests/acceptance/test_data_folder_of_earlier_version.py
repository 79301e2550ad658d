"""A data folder that an earlier version has left: its living sessions are adopted, its dead ones restored.

`data/<version>/` holds what that version wrote, recorded by `data/record.py`. Browsers are started as that
version started them, the database is filled with their pids and addresses, and the present service starts
on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from drover.browser.binaries import resolve
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import is_accounted_for, kill
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service, assert_no_trace, expect, expect_error, folder_of
from tests.machine import is_living, living, short_folder, wait_until

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(sys.platform != "linux", reason="recorded on Linux"),
]

DATA: Final = Path(__file__).parent / "data"
VERSIONS: Final = sorted(path.parent.name for path in DATA.glob("*/drover.sql"))
STARTED: Final = re.compile(r"started successfully on port (\d+)")
PLACEHOLDER: Final = re.compile(r"\{\{([\w.]+)\}\}")
START_S: Final = 30.0


@dataclass(frozen=True)
class RunningSession:
    """A ChromeDriver with its Chrome, as the earlier version left them, and what its database knows."""

    process: subprocess.Popen[bytes]
    url: str
    values: dict[str, str]

    @property
    def pids(self) -> list[int]:
        """The pids of ChromeDriver and of Chrome's main process."""
        return [int(self.values["driver_pid"]), int(self.values["browser_pid"])]

    @property
    def driver(self) -> Driver:
        """A client of its ChromeDriver."""
        return Driver({"driver": {"url": self.url, "session_id": self.values["driver_session_id"]}})


@dataclass(frozen=True)
class Upgrade:
    """What an earlier version left, and the present service on its data folder.

    Attributes:
        left: The processes of each session.
        documents: What the database says of each session.
    """

    service: Service
    left: dict[str, RunningSession]
    documents: dict[str, Json]


@contextlib.contextmanager
def upgraded(version: str, pages: Pages, *, browsers_live: bool) -> Iterator[Upgrade]:
    """Lay out the data folder of an earlier version, and run the present service on it."""
    service = Service(short_folder(), watch_interval=0)
    recorded = json.loads(filled((DATA / version / "processes.json"), {"data_dir": str(service.data_dir)}))
    left: dict[str, RunningSession] = {}
    try:
        (service.data_dir / "s").mkdir(mode=0o700, parents=True)
        (service.data_dir / "lock").touch(mode=0o600)
        for session_id, one in recorded.items():
            left[session_id] = run_session(one)
            left[session_id].driver.open(pages.url("/form"))
            left[session_id].driver.run("window.left = 42")
        documents = write_database(service.data_dir, version, left, pages)
        if not browsers_live:
            kill(*(pid for one in left.values() for pid in one.pids))
        yield Upgrade(service.start(), left, documents)
        service.finish()
    finally:
        service.reap()
        for one in left.values():
            one.process.wait(START_S)


def run_session(recorded: Json) -> RunningSession:
    """Start ChromeDriver and Chrome with the recorded switches in the recorded folder."""
    folder = Path(recorded["folder"])
    folder.mkdir(mode=0o700)
    for name in recorded["contents"]:
        if name.endswith("/"):
            (folder / name).mkdir(mode=0o700)
        else:
            (folder / name).touch(mode=0o600)
    binaries = resolve(None, None)
    output = folder / "chromedriver.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(binaries.chromedriver), *recorded["driver"]],
            env=os.environ | recorded["environment"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    (port,) = wait_until(lambda: STARTED.findall(output.read_text()), "ChromeDriver is ready", START_S)
    base = next((one.split("=", 1)[1] for one in recorded["driver"] if one.startswith("--url-base=")), "")
    url = f"http://127.0.0.1:{port}{base}"
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    options = {"binary": str(binaries.chrome), "args": [*recorded["browser"], *sandbox]}
    wanted = {"goog:chromeOptions": options, "webSocketUrl": True}
    answer = ask("POST", f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})["value"]
    address = answer["capabilities"]["goog:chromeOptions"]["debuggerAddress"].replace(
        "localhost", "127.0.0.1"
    )
    browser_pid = answer["capabilities"]["goog:processID"]
    session = f"{url}/session/{answer['sessionId']}"
    return RunningSession(
        process,
        url,
        {
            "driver_pid": str(process.pid),
            "driver_started": str(started(process.pid)),
            "driver_port": port,
            "driver_session_id": answer["sessionId"],
            "browser_pid": str(browser_pid),
            "browser_started": str(started(browser_pid)),
            "browser_port": address.rsplit(":", 1)[1],
            "browser_guid": ask("GET", f"http://{address}/json/version")["webSocketDebuggerUrl"].rsplit(
                "/", 1
            )[1],
            "window": ask("GET", f"{session}/window")["value"],
        },
    )


def write_database(
    data_dir: Path, version: str, left: dict[str, RunningSession], pages: Pages
) -> dict[str, Json]:
    """Write the recorded database with the values of this run; return the documents of its sessions."""
    now = datetime.now(timezone.utc)
    values = {
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "data_dir": str(data_dir),
        "pages": pages.url("").removesuffix("/"),
        "now": now.isoformat(),
        "in_ten_minutes": (now + timedelta(minutes=10)).isoformat(),
        "in_a_month": str((now + timedelta(days=30)).timestamp()),
        **{
            f"{session_id}.{name}": value
            for session_id, one in left.items()
            for name, value in one.values.items()
        },
    }
    connection = sqlite3.connect(data_dir / "drover.db")
    connection.executescript(filled(DATA / version / "drover.sql", values))
    connection.execute("PRAGMA journal_mode = WAL")
    rows = connection.execute("SELECT session_id, document FROM sessions").fetchall()
    connection.close()
    return {session_id: json.loads(document) for session_id, document in rows}


def filled(path: Path, values: dict[str, str]) -> str:
    """Return the text of a recorded file with the values of this run."""
    return PLACEHOLDER.sub(lambda found: values[found[1]], path.read_text(encoding="utf-8"))


def started(pid: int) -> float:
    """Return when a process started, in seconds since boot, as every version has stored it."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def ask(method: str, url: str, body: Json | None = None) -> Any:  # noqa: ANN401
    """Return the JSON value of an answer."""
    with requests.Session() as client:
        client.trust_env = False
        answer = client.request(method, url, json=body, timeout=START_S)
    assert answer.ok, answer.text[:1000]
    return answer.json()


@pytest.fixture(scope="module", params=VERSIONS)
def adopted(request: pytest.FixtureRequest, pages: Pages) -> Iterator[Upgrade]:
    """Start the present service on an earlier version's data folder whose browsers live."""
    with upgraded(request.param, pages, browsers_live=True) as upgrade:
        yield upgrade


@pytest.fixture(scope="module", params=VERSIONS)
def restored(request: pytest.FixtureRequest, pages: Pages) -> Iterator[Upgrade]:
    """Start the present service on an earlier version's data folder whose browsers are gone."""
    with upgraded(request.param, pages, browsers_live=False) as upgrade:
        yield upgrade


def test_there_are_data_folders_of_earlier_versions() -> None:
    assert {"e1c517b", "a83a842"} <= set(VERSIONS)


def test_living_sessions_go_on_with_their_processes(adopted: Upgrade) -> None:
    listed = adopted.service.listed()
    assert listed.keys() == adopted.left.keys()
    for session_id, session in listed.items():
        assert session["state"] == "ready"
        assert [session["driver"]["pid"], session["browser"]["pid"]] == adopted.left[session_id].pids
        assert Driver(session).run("return window.left") == 42
        assert expect(adopted.service.get(f"/sessions/{session_id}"))["recovered"] is False
    assert_clean(adopted.service)


def test_what_was_known_of_an_adopted_session_is_known_still(adopted: Upgrade) -> None:
    for session_id, session in adopted.service.listed().items():
        document = adopted.documents[session_id]
        for name in ("key", "recoveries", "keep_alive", "idle_timeout"):
            assert session[name] == document[name]
        # Later versions know more of a recovery.
        assert (session["last_recovery"] or {}).items() >= (document["last_recovery"] or {}).items()
        assert datetime.fromisoformat(session["created_at"].replace("Z", "+00:00")) == as_shown(document)


def as_shown(document: Json) -> datetime:
    """Return when a session was created; the API shows milliseconds."""
    created = datetime.fromisoformat(document["created_at"].replace("Z", "+00:00"))
    return created.replace(microsecond=created.microsecond // 1000 * 1000)


def test_a_lease_is_held_still(adopted: Upgrade) -> None:
    lease, body = adopted.documents["keyed"]["lease"], {"key": "account-17"}
    assert adopted.service.report("keyed")["lease"]["holder"] == lease["holder"]
    expect_error(adopted.service.post("/sessions", json=body), 409, "session_in_use")
    answer = expect(adopted.service.post("/sessions", json=body, headers={"Lease-Token": lease["token"]}))
    assert (answer["session_id"], answer["created"]) == ("keyed", False)


def test_a_session_over_webdriver_is_driven_on(adopted: Upgrade, pages: Pages) -> None:
    command = f"{adopted.service.url}/wd/hub/session/driven"
    assert ask("GET", f"{command}/url")["value"] == pages.url("/form")
    assert ask("GET", f"{command}/window")["value"] == adopted.documents["driven"]["window"]


def test_what_a_session_has_left_to_its_key_is_given_to_the_next(adopted: Upgrade, pages: Pages) -> None:
    answer = expect(adopted.service.post("/sessions", json={"key": "account-18"}), 201)
    assert_state_of("ended", answer["session"], pages)
    expect(adopted.service.delete(f"/sessions/{answer['session_id']}"))


def test_sessions_whose_browsers_are_gone_are_restored_under_their_ids(
    restored: Upgrade, pages: Pages
) -> None:
    listed = restored.service.listed()
    assert listed.keys() == restored.left.keys()
    for session_id, session in listed.items():
        assert session["last_recovery"]["method"] == "restored"
        assert session["recoveries"] == restored.documents[session_id]["recoveries"] + 1
        assert str(folder_of(session)) == restored.documents[session_id]["folder"]
        assert living(restored.left[session_id].pids) == set()
        assert_state_of(session_id, session, pages)
    assert (
        restored.service.report("keyed")["lease"]["holder"] == restored.documents["keyed"]["lease"]["holder"]
    )
    assert_clean(restored.service)


def assert_state_of(name: str, session: Json, pages: Pages) -> None:
    """Hold a session to having the state that the earlier version had saved of one."""
    client = Driver(session)
    assert client.address() == pages.url("/form")
    assert client.cookies() == {"memory": f"of {name}", "lasting": f"of {name}"}
    script = "return [localStorage.getItem('local'), sessionStorage.getItem('tab'), outerWidth, outerHeight]"
    assert client.run(script) == [f"of {name}", f"of {name}", 811, 622]


def assert_clean(service: Service) -> None:
    """Hold a service to having used the database as it was, and to owning every browser on its folder."""
    assert list(service.data_dir.glob("*set-aside*")) == []
    assert is_accounted_for(service)
    assert_no_trace(service)


def test_adopted_sessions_are_closed_with_their_processes(adopted: Upgrade) -> None:
    for session_id, one in adopted.left.items():
        assert is_living(one.pids[1])
        expect(adopted.service.delete(f"/sessions/{session_id}"))
        assert living(one.pids) == set()
    assert adopted.service.session_folders() == []
