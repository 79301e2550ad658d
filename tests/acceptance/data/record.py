"""Record the data folder of a version of Drover with living sessions, for the tests of later versions.

    git worktree add /tmp/v1 v1.0.0 && .venv/bin/python -m tests.acceptance.data.record /tmp/v1 v1.0.0

Runs that version, gives it one session with everything that a session can have, one over WebDriver and one
that has ended and left its state to its key, kills the service, and writes `tests/acceptance/data/<name>/`:

- `drover.sql`: the database. What is different at each run is a placeholder: `{{keyed.driver_pid}}`.
- `processes.json`: per session the contents of its folder, and the switches and the environment that
  ChromeDriver and Chrome were started with.

Linux only, since command lines, start times and the boot id are read from /proc.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service, expect, folder_of
from tests.machine import remove, run_folder, short_folder, wait_until

DATA: Final = Path(__file__).parent
LASTING: Final = 4_102_444_800
WIDTH: Final = 811
HEIGHT: Final = 622
# What depends on the machine, and what ChromeDriver chooses.
NOT_RECORDED: Final = re.compile(r"(?!--)|--(no-sandbox|remote-debugging-port)\b")
KEEP_ALIVE_S: Final = 3600
ENDS_AFTER_S: Final = 15


def main(checkout: Path, name: str) -> None:
    """Record the version in `checkout` under a name."""
    target = DATA / name
    target.mkdir(exist_ok=True)
    with Pages() as pages:
        service = Service(short_folder(), watch_interval=0)
        service.command = [sys.executable, str(checkout / "app.py")]
        try:
            service.start()
            sessions = furnish(service, pages)
            processes = {
                session_id: processes_of(session, service) for session_id, session in sessions.items()
            }
            service.kill()
            text = dump(service, pages)
        finally:
            service.reap()
            remove(run_folder())
    (target / "drover.sql").write_text(text, encoding="utf-8")
    (target / "processes.json").write_text(json.dumps(processes, indent=2) + "\n", encoding="utf-8")


def furnish(service: Service, pages: Pages) -> dict[str, Json]:
    """Make the sessions, and return those that live by their id."""
    keep_alive = {"url": pages.url(), "interval": KEEP_ALIVE_S}
    service.create(session_id="keyed", key="account-17", idle_timeout=7200, keep_alive=keep_alive)
    service.create(session_id="ended", key="account-18", idle_timeout=ENDS_AFTER_S)
    wanted = {
        "webSocketUrl": True,
        "timeouts": {"script": 20_000},
        "goog:chromeOptions": {"args": ["--lang=de"]},
        "drover:options": {"session_id": "driven", "url": pages.url("/red")},
    }
    answer = service.post("/wd/hub/session", json={"capabilities": {"alwaysMatch": wanted}})
    assert answer.ok, answer.text
    for session_id in ("keyed", "driven", "ended"):
        leave_state(service.report(session_id), pages)
    window = Driver(service.report("driven")).windows()[0]
    assert service.post("/wd/hub/session/driven/window", json={"handle": window}).ok
    os.kill(service.report("keyed")["driver"]["pid"], signal.SIGKILL)
    assert expect(service.get("/sessions/keyed"))["recovered"]
    expect(service.post("/sessions/keyed/lease", json={"ttl": 600, "holder": "a robot"}))
    wait_until(lambda: "ended" not in service.listed(), "the session ends for being idle", 60)
    return service.listed()


def leave_state(session: Json, pages: Pages) -> None:
    """Leave cookies, storage, an address and a size of the window in a session."""
    client, name = Driver(session), session["session_id"]
    client.resize(WIDTH, HEIGHT)
    client.open(pages.url("/form"))
    client.add_cookie("memory", f"of {name}", httpOnly=True)
    client.add_cookie("lasting", f"of {name}", expiry=LASTING)
    client.run(f"localStorage.setItem('local', 'of {name}'); sessionStorage.setItem('tab', 'of {name}')")


def processes_of(session: Json, service: Service) -> Json:
    """Return the folder of a session, and how ChromeDriver and Chrome were started in it."""
    driver, browser = (session[part]["pid"] for part in ("driver", "browser"))
    folder = folder_of(session)
    text = json.dumps(
        {
            "folder": str(folder),
            "contents": sorted(f"{path.name}{'/' if path.is_dir() else ''}" for path in folder.iterdir()),
            "driver": words(driver, "cmdline")[1:],
            "browser": [word for word in words(browser, "cmdline")[1:] if not NOT_RECORDED.match(word)],
            "environment": dict(
                word.split("=", 1) for word in words(browser, "environ") if str(service.data_dir) in word
            ),
        }
    )
    found: Json = json.loads(text.replace(str(service.data_dir), "{{data_dir}}"))
    return found


def words(pid: int, file: str) -> list[str]:
    """Return the words of a file of /proc that separates them by zero bytes."""
    content = Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8")
    return [word for word in content.split("\0") if word]


def dump(service: Service, pages: Pages) -> str:
    """Return the database as SQL, with placeholders for what is different at each run."""
    connection = sqlite3.connect(service.data_dir / "drover.db")
    marks = [
        f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
        for name in ("application_id", "user_version")
    ]
    for session_id, document in connection.execute("SELECT session_id, document FROM sessions").fetchall():
        generalized = replace_all(document, values_of(session_id, json.loads(document)))
        update = "UPDATE sessions SET document = ? WHERE session_id = ?"
        connection.execute(update, (generalized, session_id))
    connection.commit()
    lines = [*connection.iterdump(), *marks]
    connection.close()
    everywhere = {
        re.escape(pages.url("")): "{{pages}}",
        re.escape(str(service.data_dir)): "{{data_dir}}",
        r'(?<="expires": )\d+\.\d+': "{{in_a_month}}",
    }
    return replace_all("\n".join(lines) + "\n", everywhere)


def values_of(session_id: str, document: Mapping[str, Any]) -> dict[str, str]:
    """Return patterns of a document's values with what stands for them."""
    running = document["running"]
    driver_port = urlsplit(running["driver_url"]).port
    browser_port = urlsplit(f"//{running['debugger_address']}").port
    patterns = {
        rf'(?<="pid":){running["driver"]["pid"]}\b': "driver_pid",
        rf'(?<="pid":){running["browser"]["pid"]}\b': "browser_pid",
        rf'(?<="goog:processID":){running["browser"]["pid"]}\b': "browser_pid",
        rf'(?<="started":){running["driver"]["started"]}(?=\}},"driver_url")': "driver_started",
        rf'(?<="started":){running["browser"]["started"]}(?=\}},"browser_version")': "browser_started",
        rf"(?<=127\.0\.0\.1:){driver_port}\b": "driver_port",
        rf"(?<=localhost:){driver_port}\b": "driver_port",
        rf"(?<=127\.0\.0\.1:){browser_port}\b": "browser_port",
        rf"(?<=localhost:){browser_port}\b": "browser_port",
        running["driver_session_id"]: "driver_session_id",
        running["browser_guid"]: "browser_guid",
    }
    if document["window"] is not None:
        patterns[document["window"]] = "window"
    return {
        document["boot_id"]: "{{boot_id}}",
        r'(?<="last_used":")[^"]+': "{{now}}",
        r'(?<="expires_at":")[^"]+': "{{in_ten_minutes}}",
        **{pattern: f"{{{{{session_id}.{name}}}}}" for pattern, name in patterns.items()},
    }


def replace_all(text: str, patterns: Mapping[str, str]) -> str:
    """Return a text in which each pattern is replaced."""
    for pattern, replacement in patterns.items():
        text = re.sub(pattern, replacement, text)
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
