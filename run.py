"""Set up and run Drover, or set up and test it: the two commands of the README.

    python3 run.py [arguments of app.py]
    python3 run.py test [arguments of pytest]

Creates `.venv` beside this file, installs the requirements if they changed, finds Chrome and
ChromeDriver, then becomes `app.py` (or pytest) with the arguments it was given. It prints one line
per step to standard output, or to standard error before a command whose output other programs read.
Errors and advice go to standard error.
Needs only the standard library, and parses on old Pythons, so that those get an error message as well.
"""

import contextlib
import hashlib
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info < (3, 10):  # noqa: UP036 - an old Python may run this file
    sys.exit(
        f"run.py needs Python 3.10 or newer, but this is {sys.version.split()[0]}. Start it with a newer one."
    )

from dataclasses import dataclass

from drover.browser import binaries
from drover.core.errors import StartRefused
from drover.processes.host.windows_console import end_with_console
from drover.processes.host.windows_job import end_child_with_us

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

RUNTIME = "requirements.txt"
DEVELOPMENT = "requirements-dev.txt"
# DEVELOPMENT includes RUNTIME, so installing the former installs the latter.
INCLUDES = {RUNTIME: (RUNTIME,), DEVELOPMENT: (DEVELOPMENT, RUNTIME)}
LOCK_TIMEOUT_S = 900.0
PIP_GRACE_S = 5.0
# Long, since a package manager that is killed half-way leaves a database that must be repaired manually.
APT_GRACE_S = 60.0
COMMANDS = (["cleanup"], ["processes"], ["doctor"], ["drain"], ["keys"], ["purge"])
REFUSED = 2
LATER = "not found, so Selenium Manager will download it"
# A line of `.env`: its value is in quotes of one kind or the other or in none, and a comment may follow.
VARIABLE = re.compile(
    r"""\s*(?:export\s+)?(\w+)\s*=\s*(?:'([^']*)'\s*(?:#.*)?|"([^"]*)"\s*(?:#.*)?|(.*?)(?:\s+#.*)?\s*)"""
)
SOUND = "import sys, pip._internal.cli.main; sys.exit(sys.version_info < (3, 10))"


class SetupError(Exception):
    """A step failed; the message is one line that says what to do."""


@dataclass(frozen=True)
class Clone:
    """The folder that contains `run.py`, and the paths of what is set up in it."""

    root: Path

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def unfinished(self) -> Path:
        """A marker file that exists while the virtual environment is being created."""
        return self.venv / "unfinished"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def stamp(self, requirements: str) -> Path:
        """Return the file that holds the fingerprint of a finished installation."""
        return self.venv / f"{requirements}.sha256"

    def fingerprint(self, requirements: str) -> str:
        """Return a hash of what an installation depends on: interpreter, installed packages, requirements."""
        packages = "Lib/site-packages" if sys.platform == "win32" else "lib/python3*/site-packages"
        parts = [os.path.realpath(self.python).encode()]
        parts += sorted(info.name.encode() for info in self.venv.glob(f"{packages}/*.dist-info"))
        parts += [(self.root / name).read_bytes() for name in INCLUDES[requirements]]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def is_ready(self, requirements: str) -> bool:
        """Return whether the current version of these requirements is installed."""
        try:
            stamped = self.stamp(requirements).read_text(encoding="ascii")
        except OSError:
            return False
        return os.access(self.python, os.X_OK) and stamped == self.fingerprint(requirements)


def main(arguments: Sequence[str]) -> int:
    """Set up, then become the program; returns an exit code only after a failure, and on Windows."""
    clone = Clone(Path(__file__).resolve().parent)
    _end_cleanly_by_signals()
    # `doctor` reports what is missing before anything is installed; the other commands need no browser.
    is_command = bool({"-h", "--help", "--version"}.intersection(arguments)) or arguments[:1] in COMMANDS
    _escape_unprintable_characters()
    try:
        if arguments[:1] == ["test"]:
            prepare(clone, DEVELOPMENT, browser=not is_command)
            os.chdir(clone.root)
            return become([str(clone.python), "-m", "pytest", *arguments[1:]])
        with contextlib.redirect_stdout(sys.stderr if is_command else sys.stdout):
            prepare(clone, RUNTIME, browser=not is_command)
        return become([str(clone.python), str(clone.root / "app.py"), *arguments])
    except StartRefused as error:
        return _failed(error.message, REFUSED)
    except SetupError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error}. Make sure that this user may write to {clone.root} and start programs.")
    except KeyboardInterrupt:
        sys.stderr.write("run.py: stopped\n")
        return 130


def prepare(clone: Clone, requirements: str, *, browser: bool) -> None:
    """Install what is missing: the virtual environment, its packages, and a browser if `browser`.

    Raises:
        SetupError: A step failed.
        StartRefused: A setting names an invalid Chrome or ChromeDriver.
    """
    ready = clone.is_ready(requirements)
    missing = browser and _missing()
    installable = missing and can_install_browser(Path("/etc/os-release"), find_setting)
    if installable or not ready:
        with exclusive(clone.root / ".venv.lock") as lock:
            set_up(clone, requirements, lock)
            if installable and _missing():
                install_browser()
    if browser and (missing or not ready):
        tell_browser()


def set_up(clone: Clone, requirements: str, lock: int) -> None:
    """Install these requirements in the virtual environment, unless another `run.py` has just done so."""
    if clone.is_ready(requirements):
        return
    if not is_sound(clone):
        make_venv(clone, lock)
    install(clone, requirements, lock)


def is_sound(clone: Clone) -> bool:
    """Return whether the virtual environment is complete, has pip, and has a Python that is new enough."""
    if clone.unfinished.exists() or not os.access(clone.python, os.X_OK):
        return False
    command = [str(clone.python), "-c", SOUND]
    probe = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - ours
    return probe.returncode == 0


def make_venv(clone: Clone, lock: int) -> None:
    """Create the virtual environment; a damaged one is replaced.

    Raises:
        SetupError: This Python cannot create one, or runs from the one that has to be replaced.
    """
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise SetupError(
            "This Python cannot create a virtual environment. "
            "Run `apt-get install python3-venv`, then run this again."
        )
    if Path(sys.prefix) == clone.venv:
        raise SetupError("run.py must replace .venv but runs in it. Start it with the system's python3.")
    say(f"Creating .venv with Python {sys.version.split()[0]}")
    if clone.venv.exists():
        shutil.rmtree(clone.venv)
    clone.venv.mkdir()
    clone.unfinished.touch()
    command = [sys.executable, "-m", "venv", str(clone.venv)]
    run_step(command, "Could not create .venv. Fix the error shown above, then run this again.", lock)
    clone.unfinished.unlink()


def install(clone: Clone, requirements: str, lock: int) -> None:
    """Install with pip, and write the fingerprints when that is finished."""
    say(f"Installing {requirements} into .venv")
    for name in INCLUDES:
        clone.stamp(name).unlink(missing_ok=True)
    pip = [str(clone.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "-r", str(clone.root / requirements)]
    advice = f"pip could not install {requirements}. Fix the error shown above, then run this again."
    run_step(command, advice, lock)
    for name in INCLUDES[requirements]:
        clone.stamp(name).write_text(clone.fingerprint(name), encoding="ascii")


def can_install_browser(os_release: Path, setting: Callable[[str], "str | None"]) -> bool:
    """Return whether apt can install the browser: on Debian itself, as root, and no setting names one."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    if setting(binaries.CHROME_VARIABLE) or setting(binaries.CHROMEDRIVER_VARIABLE):
        return False
    return os_release.is_file() and "ID=debian" in os_release.read_text(encoding="utf-8").splitlines()


def install_browser() -> None:
    """Install Debian's Chromium and its ChromeDriver."""
    say("Installing Debian's chromium and chromium-driver with apt-get")
    advice = "apt-get could not install the browser. Fix the error shown above, then run this again."
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=120"]
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_step([*apt, "update"], advice, environ=environ, grace_s=APT_GRACE_S)
    install = [*apt, "install", "-y", "chromium", "chromium-driver"]
    run_step(install, advice, environ=environ, grace_s=APT_GRACE_S)


def tell_browser() -> None:
    """Print which Chrome and ChromeDriver were found, or that Selenium Manager will download them."""
    chrome = binaries.find_chrome(find_setting(binaries.CHROME_VARIABLE))
    chromedriver = binaries.find_chromedriver(find_setting(binaries.CHROMEDRIVER_VARIABLE))
    notice = None if chrome else binaries.snap_notice()
    if notice:
        say(notice)
    say(f"Chrome: {chrome or LATER}; ChromeDriver: {chromedriver or LATER}")


def find_setting(name: str) -> "str | None":
    """Return a setting as the service will read it: from the environment, else from `.env` in this folder."""
    try:
        lines = Path(".env").read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        lines = []
    found = [one for one in map(VARIABLE.fullmatch, lines) if one]
    values = {one[1].upper(): next(part for part in one.groups()[1:] if part is not None) for one in found}
    return (values | {key.upper(): value for key, value in os.environ.items()}).get(name)


def run_step(
    command: Sequence[str],
    advice: str,
    lock: "int | None" = None,
    environ: "Mapping[str, str] | None" = None,
    grace_s: float = PIP_GRACE_S,
) -> None:
    """Run a child process to its end; its output is shown only if it fails, and it never outlives run.py.

    Args:
        advice: The error message if it fails: what to do.
        lock: File descriptor of a lock to share with the child, so that the lock is held until the child ends
            even if this process is killed.
        environ: Environment of the child; this process's if None.
        grace_s: Seconds between the request to end and the kill.

    Raises:
        SetupError: It failed.
    """
    group = _own_group(lock)
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(  # noqa: S603 - pip, venv and apt, with arguments of our own
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environ, **group
        )
        try:
            code = child.wait()
        except BaseException:
            _end(child, grace_s)
            raise
        if code != 0:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
            raise SetupError(advice)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the lock file, so that only one `run.py` at a time changes the set-up; yield its file descriptor.

    Raises:
        SetupError: Another process has held it for fifteen minutes.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    with path.open("ab") as file:
        if not _try_lock(file.fileno()):
            say("Waiting for another run.py to finish its set-up")
            while not _try_lock(file.fileno()):
                if time.monotonic() > deadline:
                    raise SetupError(
                        "Another run.py has been setting up for 15 minutes. End it, then run this again."
                    )
                time.sleep(0.1)
        yield file.fileno()


def become(command: Sequence[str], system: str = sys.platform) -> int:
    """Replace this process by the program; on Windows, run it as a child and return its exit code."""
    sys.stdout.flush()
    if system != "win32":
        os.execv(command[0], [*command])  # noqa: S606 - becoming another program is the purpose
    # Ctrl-Break and the end of the console reach the child as well, which stops in order and is waited for.
    if hasattr(signal, "SIGBREAK"):
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)
    child = subprocess.Popen(command)  # noqa: S603 - as above
    end_child_with_us(child.pid)
    end_with_console(child.wait)
    while True:
        # The console sends Ctrl-C to the child as well, and the child decides how to stop.
        with contextlib.suppress(KeyboardInterrupt):
            return child.wait()


def say(line: str) -> None:
    """Print a line about the current step."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _missing() -> bool:
    chrome = binaries.find_chrome(find_setting(binaries.CHROME_VARIABLE))
    return chrome is None or binaries.find_chromedriver(find_setting(binaries.CHROMEDRIVER_VARIABLE)) is None


def _own_group(lock: "int | None") -> "dict[str, Any]":
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True, "pass_fds": () if lock is None else (lock,)}


def _end(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """End a child process and everything that it has started."""
    if sys.platform == "win32":
        child.kill()
        child.wait()
        return
    try:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, signal.SIGINT)
            child.wait(grace_s)
    finally:
        # Ends what the child has left behind, and after a second Ctrl-C the child itself.
        # The system does not reuse the number of a process group that still has a member.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _end_cleanly_by_signals() -> None:
    numbers = [signal.SIGTERM] if sys.platform == "win32" else [signal.SIGTERM, signal.SIGHUP]
    for number in numbers:
        # An ignored signal, such as SIGHUP under nohup, must stay ignored in the program that follows.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _exit_by_signal)


def _exit_by_signal(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _failed(message: str, code: int = 1) -> int:
    sys.stderr.write(f"run.py: {message}\n")
    return code


def _escape_unprintable_characters() -> None:
    """Print characters that the console cannot encode as escapes, so that no file name causes an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
