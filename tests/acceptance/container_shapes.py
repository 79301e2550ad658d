"""Shapes in which programs start a ChromeDriver in containers, and what an automatic cleanup has to do.

Each shape is a first process, a program that starts a ChromeDriver, and whether that program still runs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from tests.acceptance.containers import WAIT_S, Container, container
from tests.machine import free_port, marked, wait_gone, wait_until

ENDED, SPARED = "ended", "spared"
LONG_S: Final = "1000"

Command = list[str]
First = Callable[[Path], Command]

WAYS: Final[Mapping[str, str]] = {
    "in the foreground": '"$@"; :',
    "`&`": '"$@" & wait',
    "`nohup … &`": 'nohup "$@" & wait',
    "`setsid … &`": 'setsid "$@" & wait',
}
"""How a shell script starts a ChromeDriver."""


def in_shell(way: str, driver: Sequence[str]) -> Command:
    """Return a shell script that starts a ChromeDriver."""
    return ["sh", "-c", WAYS[way], "sh", *driver]


def supervisord(folder: Path, command: Sequence[str]) -> Command:
    """Return a supervisord that keeps a command running."""
    words = " ".join("'" + word.replace("%", "%%").replace("'", "'\\''") + "'" for word in command)
    settings = folder / "supervisord.conf"
    settings.write_text(
        f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
        f"pidfile={folder}/supervisord.pid\n[program:one]\ncommand={words}\nautorestart=false\n"
    )
    return ["supervisord", "-c", str(settings)]


def s6(folder: Path, command: Sequence[str]) -> Command:
    """Return an s6-svscan with a service that runs a command."""
    service = folder / "services" / "one"
    service.mkdir(parents=True)
    run = service / "run"
    words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
    run.write_text(f"#!/bin/sh\nexec {words}\n")
    run.chmod(0o755)
    return ["s6-svscan", str(folder / "services")]


PYTHON: Final = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(1000)"
PYTHON_SYSTEM: Final = (
    "import os, shlex, sys, time; os.system('%s' + shlex.join(sys.argv[1:]) + ' &'); time.sleep(1000)"
)
NODE: Final = (
    "const [program, ...args] = process.argv.slice(1);"
    "require('child_process').spawn(program, args, {detached: %s, stdio: 'ignore'}).unref();"
    "setInterval(() => {}, 1e6)"
)
JAVA: Final = """
public class Shape {
    public static void main(String[] command) throws Exception {
        new ProcessBuilder(command).inheritIO().start();
        Thread.sleep(1_000_000);
    }
}
"""


def java(folder: Path, command: Sequence[str]) -> Command:
    """Return a Java program that starts a command."""
    source = folder / "Shape.java"
    source.write_text(JAVA)
    return ["java", str(source), *command]


IDLE: Final = ("sleep", LONG_S)
FIRSTS: Final[Mapping[str, First]] = {
    "tini": lambda _: ["tini", "--", *IDLE],
    "dumb-init": lambda _: ["dumb-init", "--", *IDLE],
    "s6-svscan": lambda folder: s6(folder, IDLE),
    "bash": lambda _: ["bash", "-c", f"sleep {LONG_S}; :"],
    "python": lambda _: [sys.executable, "-c", "import time; time.sleep(1000)"],
    "node": lambda _: ["node", "-e", "setInterval(() => {}, 1e6)"],
    "java": lambda folder: java(folder, IDLE),
    "supervisord": lambda folder: supervisord(folder, IDLE),
}
"""First processes of containers that have not started the program."""
INITS: Final = frozenset({"tini", "dumb-init", "s6-svscan"})

Starter = Callable[[Path, Sequence[str]], Command]
STARTERS: Final[Mapping[str, Starter]] = {
    **{
        f"{name} that runs a script, {way}": partial(
            lambda way, before, _, driver: [*before, *in_shell(way, driver)], way, before
        )
        for name, before in (("tini", ["tini", "--"]), ("dumb-init", ["dumb-init", "--"]))
        for way in WAYS
    },
    **{
        f"bash itself, {way}": partial(
            lambda script, _, driver: ["bash", "-c", script, "bash", *driver], script
        )
        for way, script in WAYS.items()
    },
    "s6-svscan with the ChromeDriver as a service": s6,
    "s6-svscan with a script as a service, `&`": lambda folder, driver: s6(folder, in_shell("`&`", driver)),
    "supervisord with the ChromeDriver as a program": supervisord,
    **{
        f"supervisord with a script as a program, {way}": partial(
            lambda way, folder, driver: supervisord(folder, in_shell(way, driver)), way
        )
        for way in ("`&`", "`setsid … &`")
    },
    "python, `subprocess.Popen`": lambda _, driver: [sys.executable, "-c", PYTHON, *driver],
    **{
        f'{name}, `os.system("{prefix}… &")`': partial(
            lambda before, prefix, _, driver: [
                *before,
                sys.executable,
                "-c",
                PYTHON_SYSTEM % prefix,
                *driver,
            ],
            before,
            prefix,
        )
        for name, before in (("python", ()), ("tini that runs python", ("tini", "--")))
        for prefix in ("", "nohup ", "setsid ")
    },
    "node, `spawn`": lambda _, driver: ["node", "-e", NODE % "false", *driver],
    "node, `spawn` with `detached`": lambda _, driver: ["node", "-e", NODE % "true", *driver],
    "java, `ProcessBuilder`": java,
}
"""First processes that start the ChromeDriver themselves, or run a program that does, and live."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape.

    Attributes:
        first: The name of the first process.
        way: How the program starts the ChromeDriver.
        program_lives: Whether the program still runs when the cleanup comes.
    """

    first: str
    way: str
    program_lives: bool

    @property
    def expected(self) -> str:
        """What an automatic cleanup has to do with the ChromeDriver: in doubt, nothing."""
        is_proven = self.first in INITS and not self.program_lives and "setsid" not in self.way
        return ENDED if is_proven else SPARED

    def run(self, folder: Path) -> tuple[str, str]:
        """Make the shape and clean up; return what became of the ChromeDriver, and the reason."""
        with container(folder, FIRSTS[self.first](folder)) as box:
            program = box.start(in_shell(self.way, driver_command(folder)))
            try:
                driver = wait_for_driver(folder)
                if not self.program_lives:
                    shell = parent_shell(box, driver)
                    shell.kill()
                    wait_gone([shell.pid])
                return outcome(box, driver)
            finally:
                program.kill()
                program.wait(WAIT_S)

    def __str__(self) -> str:
        return f"{self.first}, {self.way}, the program {'lives' if self.program_lives else 'has ended'}"


def shapes() -> Iterator[Shape]:
    """Yield the shapes of programs that the first process has not started."""
    for lives in (False, True):
        for first in FIRSTS:
            for way in WAYS:
                yield Shape(first, way, lives)


def run_starter(name: str, folder: Path) -> tuple[str, str]:
    """Let a first process start the ChromeDriver, and clean up; return what became of it, and the reason."""
    with container(folder, STARTERS[name](folder, driver_command(folder))) as box:
        return outcome(box, wait_for_driver(folder))


def driver_command(folder: Path, executable: str | None = None) -> Command:
    """Return the command of a ChromeDriver that can be found by its folder."""
    found = executable or shutil.which("chromedriver")
    assert found is not None, "there is no ChromeDriver"
    return [found, f"--port={free_port()}", f"--log-path={folder}/log"]


def wait_for_driver(folder: Path) -> psutil.Process:
    """Wait until the ChromeDriver runs, and return it as this machine sees it."""
    return wait_until(lambda: _drivers(folder), "the ChromeDriver runs", WAIT_S)[0]


def outcome(box: Container, driver: psutil.Process) -> tuple[str, str]:
    """Clean up in a container; return what became of a ChromeDriver, and the reason."""
    reported, reason = box.automatic_cleanup(box.pid_within(driver))
    is_living = driver.is_running() and driver.status() != psutil.STATUS_ZOMBIE
    assert reported is not is_living, f"reported as ended: {reported}, but living: {is_living}"
    return (SPARED if is_living else ENDED), reason


def parent_shell(box: Container, driver: psutil.Process) -> psutil.Process:
    """Return the script that started a ChromeDriver: by `&` in an interactive shell or not, its parent."""
    parent = driver.parent()
    assert parent is not None
    assert parent.pid != box.first.pid
    return parent


def _drivers(folder: Path) -> list[psutil.Process]:
    # psutil keeps the executable that it has read first, and `nohup` becomes the ChromeDriver.
    found = []
    for one in marked(folder):
        # `setsid` may end between the list of processes and the look at it.
        with suppress(psutil.NoSuchProcess):
            found.append((psutil.Process(one.pid), psutil.Process(one.pid).exe()))
    return [process for process, executable in found if "driver" in Path(executable).name]


def tables(found: Mapping[Shape, str], started: Mapping[str, str]) -> str:
    """Return the tables for the documentation, from what became of each ChromeDriver."""
    lines = [
        f"| first process | the program that started it | {' | '.join(WAYS)} |",
        f"|---|---|{'---|' * len(WAYS)}",
    ]
    for lives in (False, True):
        for first in FIRSTS:
            cells = " | ".join(found[Shape(first, way, lives)] for way in WAYS)
            lines.append(f"| {first} | {'lives' if lives else 'has ended'} | {cells} |")
    lines += ["", "| first process that starts it, and lives | |", "|---|---|"]
    lines += [f"| {name} | {outcome} |" for name, outcome in started.items()]
    return "\n".join(lines) + "\n"


def expected_tables() -> str:
    """Return the tables as they have to be."""
    return tables({shape: shape.expected for shape in shapes()}, dict.fromkeys(STARTERS, SPARED))
