"""The command line: serve; for cron without HTTP: cleanup and processes; and doctor, for the set-up.

`cleanup` and `processes` ask the running instance where there is one, since it alone knows its
sessions; without one they do the work themselves and spare the sessions of their own data folder.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from drover.api.reports import cleanup_json, processes_json
from drover.cli import doctor
from drover.cli.doctor import Check, Status
from drover.cli.system_checks import read_set_up
from drover.core import events
from drover.core.errors import CleanupIncomplete, StartObstructed, StartRefused
from drover.core.logs import set_up_logging
from drover.core.settings import Settings, describe_settings, load_settings
from drover.core.version import VERSION
from drover.net.access import is_loopback
from drover.processes.cleanup.verdicts import ProtectedSession
from drover.processes.session_mark import OwnerState
from drover.server.serve import serve
from drover.storage.instance_lock import read_owner
from drover.storage.session_folders import SessionFolders
from process_cleanup import ProcessCleaner, Trigger

DONE, INCOMPLETE, REFUSED, NO_ANSWER, WARNED = range(5)
OBSTRUCTED = 75
ANSWER_S = 60

_EXIT_CODES = """exit codes:
  0  done; for cleanup: no orphan is left; for doctor: all is well
  1  a process could not be ended, the report says why; for doctor: a problem that stops the service
  2  a setting or an argument is wrong
  3  an instance of Drover runs on this data folder, but does not answer
  4  for doctor: a warning, and no problem
  75  nothing is wrong with the settings, but the port or the folder is taken, the disk is full, or the
      address is not there yet: a later start may succeed"""

JsonObject = Mapping[str, Any]


class ServiceUnreachable(Exception):
    """The running instance cannot be asked; the message says why."""


def main() -> int:
    """Run the command that the program's arguments name; return the exit code."""
    return run(sys.argv[1:], serve)


def run(arguments: Sequence[str], serve: Callable[[Settings], int]) -> int:
    """Do what the arguments say and give the exit code.

    Args:
        arguments: Without the program's name.
        serve: Runs the service until it is told to stop.
    """
    _let_every_character_out()
    asked = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        if asked.command == "cleanup":
            return _cleanup(settings, dry_run=asked.dry_run, as_json=asked.json)
        if asked.command == "processes":
            return _processes(settings, as_json=asked.json)
        if asked.command == "doctor":
            return _doctor(settings, as_json=asked.json)
        return serve(settings)
    except StartRefused as refusal:
        _complain(refusal.message)
        return OBSTRUCTED if isinstance(refusal, StartObstructed) else REFUSED
    except ServiceUnreachable as error:
        _complain(str(error))
        return NO_ANSWER


def _cleanup(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    if _is_running(settings):
        query = "?dry_run=true" if dry_run else ""
        answer = _ask(settings, "POST", f"/cleanup_orphaned_processes{query}")
    else:
        report = _cleaner_alone(settings).cleanup(Trigger.PERSON, dry_run=dry_run)
        answer = cleanup_json(report, active_sessions=0)
    _show(json.dumps(answer) if as_json else _cleanup_text(answer))
    return DONE if answer.get("success") else INCOMPLETE


def _processes(settings: Settings, *, as_json: bool) -> int:
    if _is_running(settings):
        answer = _ask(settings, "GET", "/processes")
    else:
        answer = processes_json(_cleaner_alone(settings).survey())
    _show(json.dumps(answer) if as_json else _process_table(answer))
    return DONE


def _doctor(settings: Settings, *, as_json: bool) -> int:
    checks = doctor.judge(read_set_up(settings))
    found = doctor.worst(checks)
    if as_json:
        answer = {"success": found is not Status.PROBLEM, "status": found, "checks": [*map(asdict, checks)]}
        _show(json.dumps(answer))
    else:
        _show("\n".join(line for check in checks for line in _check_lines(check)))
    return {Status.OK: DONE, Status.WARNING: WARNED, Status.PROBLEM: INCOMPLETE}[found]


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
        hub.emit,
        adopt_grace=settings.adopt_grace,
        owned_only=settings.cleanup_scope == "owned",
    )


def _ask(settings: Settings, method: str, path: str) -> JsonObject:
    """Ask the running instance.

    Raises:
        NoAnswer: It cannot be reached, or it refuses.
    """
    url = f"http://{_reachable(settings.host)}:{settings.port}{path}"
    headers = {}
    if settings.api_token is not None:
        headers["Authorization"] = f"Bearer {settings.api_token.get_secret_value()}"
    request = urllib.request.Request(url, method=method, headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=ANSWER_S) as response:
            return _report(json.load(response))
    except urllib.error.HTTPError as error:
        return _refusal(error, url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ServiceUnreachable(
            f"An instance of Drover runs on {settings.data_dir}, but {url} does not answer ({error}); "
            "set DROVER_PORT to the port that it listens on"
        ) from error


def _reachable(host: str) -> str:
    """Give the address at which an instance that listens on `host` can be reached from here."""
    if is_loopback(host) or host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _report(answer: object) -> JsonObject:
    """Give an answer of ours; some other program may listen on the port.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(answer, dict) or "success" not in answer:
        raise ValueError("what answers there is not Drover")
    return answer


def _refusal(error: urllib.error.HTTPError, url: str) -> JsonObject:
    """Give the report of a cleanup that is not complete; any other refusal is no answer."""
    try:
        answer = _report(json.load(error))
    except (OSError, ValueError, http.client.HTTPException):
        answer = {}
    if answer.get("code") == CleanupIncomplete.code:
        return answer
    raise ServiceUnreachable(f"{url} refuses: {answer.get('error') or error}")


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
        return "No Chrome or ChromeDriver process runs on this machine."
    return _table(("PID", "VERDICT", "ROLE", "NAME", "MEMORY_MB", "WHY"), answer["processes"])


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
    commands.add_parser("serve", help="run the service (what happens without a command)")
    cleanup = commands.add_parser("cleanup", help="end orphaned ChromeDriver and Chrome processes")
    cleanup.add_argument("--dry-run", action="store_true", help="only say what would be ended and removed")
    processes = commands.add_parser("processes", help="list every ChromeDriver and Chrome with its verdict")
    set_up = commands.add_parser("doctor", help="check the set-up, and say what to do about it")
    set_up.add_argument("--json", action="store_true", help="as JSON: status, and the checks one by one")
    for command in (cleanup, processes):
        command.add_argument("--json", action="store_true", help="as JSON, as the HTTP API answers")
    return parser


def _let_every_character_out() -> None:
    """Let a console that cannot show a character show its number: a name must not end a program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")
