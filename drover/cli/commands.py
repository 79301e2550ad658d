"""The command line: serve, cleanup, processes, keys, purge, doctor and drain.

`cleanup`, `processes`, `keys` and `purge` call the running instance if there is one, since only it knows its
sessions. Without one they do the work themselves and spare the sessions in their data folder.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, TextIO

from drover.api.reports import ProcessList, cleanup_answer
from drover.cli import doctor, kept_keys
from drover.cli.doctor import Check, Status
from drover.cli.grid_checks import judge_grid
from drover.cli.grid_readings import read_grid
from drover.cli.system_checks import read_set_up
from drover.core import events
from drover.core.errors import CleanupIncomplete, StartObstructed, StartRefused
from drover.core.jobs import JobKind, Jobs
from drover.core.logs import set_up_logging
from drover.core.settings import Settings, describe_settings, load_settings
from drover.core.threads import ThreadPool
from drover.core.version import VERSION
from drover.net.access import reachable_host
from drover.processes.cleanup.cleanup_plan import ProtectedSession
from drover.processes.session_mark import OwnerState
from drover.server.serve import serve
from drover.storage.instance_lock import read_owner
from drover.storage.session_folders import SessionFolders
from process_cleanup import ProcessCleaner, Trigger

DONE, INCOMPLETE, REFUSED, NO_ANSWER, WARNED = range(5)
OBSTRUCTED = 75
ANSWER_S = 60
STOP_S = 30.0
"""How long the stop may take after a drain, in seconds."""
POLL_S = 0.1
"""Seconds between two looks at the lock: a supervisor needs longer to start the service again."""

_EXIT_CODES = """exit codes:
  0   success; cleanup: no orphan is left; doctor: no problems and no warnings
  1   cleanup: a process could not be ended (the report says why); doctor: a problem that stops the service;
      purge: nothing is kept for a key;
      drain: the service still runs although its time is over
  2   invalid setting or argument
  3   an instance of Drover is running on this data folder, but does not answer
  4   doctor: warnings, but no problem
  75  temporary failure: the port or the data folder is in use, the disk is full, the address is not available
      yet, or the service lost its port; a later start may succeed"""

JsonObject = Mapping[str, Any]


class ServiceUnreachable(Exception):
    """The running instance cannot be reached, or it refuses; the message says why."""


def main() -> int:
    """Run the command given in the program's arguments; return the exit code."""
    return run(sys.argv[1:], serve)


def run(arguments: Sequence[str], serve: Callable[[Settings], int]) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: The arguments without the program's name.
        serve: Runs the service until it is stopped, and returns its exit code.
    """
    _escape_unprintable_characters()
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        commands: Mapping[str, Callable[[], int]] = {
            "cleanup": lambda: _cleanup(settings, dry_run=options.dry_run, as_json=options.json),
            "processes": lambda: _processes(settings, as_json=options.json),
            "doctor": lambda: _doctor(settings, as_json=options.json),
            "keys": lambda: _keys(settings, as_json=options.json),
            "purge": lambda: _purge(settings, options.keys, all_keys=options.all),
            "drain": lambda: _drain(settings),
        }
        return commands.get(options.command, lambda: serve(settings))()
    except StartRefused as refusal:
        _print(refusal.message, is_error=True)
        return OBSTRUCTED if isinstance(refusal, StartObstructed) else REFUSED
    except ServiceUnreachable as error:
        _print(str(error), is_error=True)
        return NO_ANSWER


def _cleanup(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    if _is_running(settings):
        query = "?dry_run=true" if dry_run else ""
        answer = _ask(settings, "POST", f"/cleanup_orphaned_processes{query}")
    else:
        report = _cleaner_alone(settings).cleanup(Trigger.PERSON, dry_run=dry_run)
        answer = cleanup_answer(report, active_sessions=0).json_object()
    _print(json.dumps(answer) if as_json else _cleanup_text(answer))
    return DONE if answer.get("success") else INCOMPLETE


def _processes(settings: Settings, *, as_json: bool) -> int:
    if _is_running(settings):
        answer = _ask(settings, "GET", "/processes")
    else:
        answer = ProcessList.of(_cleaner_alone(settings).survey()).json_object()
    _print(json.dumps(answer) if as_json else _process_table(answer))
    return DONE


def _doctor(settings: Settings, *, as_json: bool) -> int:
    grid = read_grid(settings)
    checks = (*doctor.judge(read_set_up(settings)), *(judge_grid(grid) if grid is not None else ()))
    found = doctor.worst(checks)
    if as_json:
        answer = {"success": found is not Status.PROBLEM, "status": found, "checks": [*map(asdict, checks)]}
        _print(json.dumps(answer))
    else:
        _print("\n".join(line for check in checks for line in _check_lines(check)))
    return {Status.OK: DONE, Status.WARNING: WARNED, Status.PROBLEM: INCOMPLETE}[found]


def _keys(settings: Settings, *, as_json: bool) -> int:
    with _kept(settings) as kept:
        answer = kept.list()
    _print(json.dumps(answer) if as_json else _key_table(answer))
    return DONE


def _purge(settings: Settings, keys: Sequence[str], *, all_keys: bool) -> int:
    """Forget what is kept for the keys; those without anything are named, with an error status."""
    with _kept(settings) as kept:
        known = [str(one["key"]) for one in kept.list()["keys"]]
        chosen = known if all_keys else [key for key in dict.fromkeys(keys) if key in known]
        for key in chosen:
            kept.forget(key)
    missing = sorted(set(keys) - set(known))
    _print(f"Forgot what was kept for {len(chosen)} {'key' if len(chosen) == 1 else 'keys'}.")
    if missing:
        _print(f"Nothing is kept for {', '.join(missing)}; the command `keys` lists all keys.", is_error=True)
    return INCOMPLETE if missing else DONE


@contextmanager
def _kept(settings: Settings) -> Iterator[kept_keys.KeptByService | kept_keys.KeptOnDisk]:
    if _is_running(settings):
        yield kept_keys.KeptByService(partial(_ask, settings))
        return
    with kept_keys.on_disk(settings) as kept:
        yield kept


def _drain(settings: Settings) -> int:
    """Drain the running instance and wait until it has stopped: a `preStop` hook has to last that long."""
    if not _is_running(settings):
        _print(f"No instance of Drover is running on {settings.data_dir}.")
        return DONE
    answer = _ask(settings, "POST", "/drain")
    _print(str(answer["message"]))
    latest = time.monotonic() + answer["remaining_s"] + STOP_S
    while _is_running(settings):
        if time.monotonic() >= latest:
            _print("The service still runs: its log says what it waits for.", is_error=True)
            return INCOMPLETE
        time.sleep(POLL_S)
    _print("The service has stopped.")
    return DONE


def _check_lines(check: Check) -> Iterator[str]:
    yield f"{check.status.value:<8} {check.name:<14} {check.found}"
    if check.advice is not None:
        yield f"{'':<23} -> {check.advice}"


def _is_running(settings: Settings) -> bool:
    return read_owner(str(settings.data_dir), settings.adopt_grace) is OwnerState.LIVING


def _cleaner_alone(settings: Settings) -> ProcessCleaner:
    folders = SessionFolders(settings.data_dir)

    def spared() -> tuple[ProtectedSession, ...]:
        return tuple(
            ProtectedSession(f"in {folder.path.name}", str(folder.path), frozenset())
            for folder in folders.present()
        )

    hub = events.EventHub()
    hub.subscribe(set_up_logging(settings.log_format, settings.log_level))
    return ProcessCleaner(
        folders,
        spared,
        Jobs({JobKind.CLEANUP: ThreadPool("cleanup", 1)}, hub.emit),
        hub.emit,
        adopt_grace=settings.adopt_grace,
        owned_only=settings.cleanup_scope == "owned",
    )


def _ask(settings: Settings, method: str, path: str) -> JsonObject:
    """Return the response of the running instance to a request.

    Raises:
        ServiceUnreachable: It cannot be reached, or it refuses the request.
    """
    url = f"http://{reachable_host(settings.host)}:{settings.port}{path}"
    headers = {}
    if settings.token is not None:
        headers["Authorization"] = f"Bearer {settings.token}"
    request = urllib.request.Request(url, method=method, headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=ANSWER_S) as response:
            return _report(json.load(response))
    except urllib.error.HTTPError as error:
        return _refusal(error, url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ServiceUnreachable(
            f"An instance of Drover is running on {settings.data_dir}, but {url} does not answer ({error}). "
            "Set DROVER_PORT to the port that it listens on."
        ) from error


def _report(answer: object) -> JsonObject:
    """Return `answer` if it comes from Drover; another program may listen on the port.

    Raises:
        ValueError: It does not come from Drover.
    """
    if not isinstance(answer, dict) or "success" not in answer:
        raise ValueError("the program on that port is not Drover")
    return answer


def _refusal(error: urllib.error.HTTPError, url: str) -> JsonObject:
    """Return the report of an incomplete cleanup, which has an error status.

    Raises:
        ServiceUnreachable: The response is any other error.
    """
    try:
        answer = _report(json.load(error))
    except (OSError, ValueError, http.client.HTTPException):
        answer = {}
    if answer.get("code") == CleanupIncomplete.code:
        return answer
    raise ServiceUnreachable(f"{url} refused the request: {answer.get('error') or error}")


def _cleanup_text(answer: JsonObject) -> str:
    lines = [str(answer["message"])]
    if answer["killed"]:
        lines += ["", _table(("PID", "ROLE", "NAME", "WHY"), answer["killed"])]
    if answer["failed"]:
        lines += ["", "Could not be ended:", _table(("PID", "ROLE", "NAME", "WHY"), answer["failed"])]
    verb = "To be removed" if answer["dry_run"] else "Removed"
    lines += ["", f"{verb}: {answer['removed_profiles']} session folders; memory: {answer['freed_mb']} MB"]
    return "\n".join(lines)


def _process_table(answer: JsonObject) -> str:
    if not answer["processes"]:
        return "No Chrome or ChromeDriver process is running on this machine."
    return _table(("PID", "VERDICT", "ROLE", "NAME", "MEMORY_MB", "WHY"), answer["processes"])


def _key_table(answer: JsonObject) -> str:
    if not answer["keys"]:
        return "Nothing is kept for any key."
    return _table(("KEY", "LAST_USED", "SIZE_MB", "PROFILE"), answer["keys"])


_FIELDS = {"WHY": "reason"}


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [columns, *([_cell(row[_FIELDS.get(name, name.lower())]) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    padded = ((cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _parser() -> argparse.ArgumentParser:
    settings = [f"  {name} ({default})\n      {meaning}" for name, default, meaning in describe_settings()]
    parser = argparse.ArgumentParser(
        description="Drover hands out Chrome sessions over HTTP and keeps them alive.",
        epilog="settings (environment variables or a .env file, with their defaults):\n"
        + "\n".join(settings)
        + f"\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"Drover {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("serve", help="run the service (the default)")
    cleanup = commands.add_parser("cleanup", help="end orphaned ChromeDriver and Chrome processes")
    cleanup.add_argument("--dry-run", action="store_true", help="only print what would be ended and removed")
    processes = commands.add_parser("processes", help="list every ChromeDriver and Chrome with its verdict")
    commands.add_parser("drain", help="let the sessions end, stop the service, and wait until it has stopped")
    keys = commands.add_parser("keys", help="list what is kept for which key")
    purge = commands.add_parser("purge", help="forget what is kept for keys: their logins")
    chosen = purge.add_mutually_exclusive_group(required=True)
    chosen.add_argument("keys", nargs="*", default=[], metavar="KEY", help="forget what is kept for this key")
    chosen.add_argument("--all", action="store_true", help="forget what is kept for every key")
    set_up = commands.add_parser("doctor", help="check the set-up and print advice for each problem")
    set_up.add_argument("--json", action="store_true", help="print JSON: the overall status and every check")
    for command in (cleanup, processes, keys):
        command.add_argument("--json", action="store_true", help="print JSON, as in the HTTP API")
    return parser


def _escape_unprintable_characters() -> None:
    """Print characters that the console cannot encode as escapes, so that no process name causes an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(text: str, *, is_error: bool = False) -> None:
    stream: TextIO | None = sys.stderr if is_error else sys.stdout
    # pythonw.exe, which has no console, has no streams either; the exit code says the rest.
    if stream is not None:
        stream.write(text + "\n")
