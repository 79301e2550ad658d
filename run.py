"""Set up and run Drover, or set up and test it: the two commands of the README.

    python3 run.py [arguments of app.py]
    python3 run.py test [arguments of pytest]

Makes `.venv` beside this file, installs the requirements when they changed, finds Chrome and
ChromeDriver, then becomes `app.py` (or pytest) with the arguments it was given. What it does
is said on standard output, a line a step (before a command whose output others read: on standard
error); what failed, and what to do, on standard error.
Needs the standard library only, and parses on old Pythons, so that they can be told what is missing.
"""

import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info < (3, 10):  # noqa: UP036 - this is the file that an old Python is started with
    sys.exit(
        f"run.py needs Python 3.10 or newer, and this is {sys.version.split()[0]}: start it with a newer one"
    )

from dataclasses import dataclass

from drover.browser import binaries
from drover.core.errors import StartRefused

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

RUNTIME = "requirements.txt"
DEVELOPMENT = "requirements-dev.txt"
# DEVELOPMENT includes RUNTIME: what is installed with the one is installed with the other.
INCLUDES = {RUNTIME: (RUNTIME,), DEVELOPMENT: (DEVELOPMENT, RUNTIME)}
LOCK_PATIENCE_S = 900.0
PIP_PATIENCE_S = 5.0
# Long, since a package manager that is killed half-way leaves its data base to be repaired by hand.
APT_PATIENCE_S = 60.0
REPORTS = (["cleanup"], ["processes"], ["doctor"])
REFUSED = 2
LATER = "none found, so Selenium Manager will fetch it"
SOUND = "import sys, pip._internal.cli.main; sys.exit(sys.version_info < (3, 10))"


class SetupError(Exception):
    """A step failed; the message is the one line that says what to do."""


@dataclass(frozen=True)
class Clone:
    """A folder that holds `run.py`, and what is set up in it."""

    root: Path

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def unfinished(self) -> Path:
        """Stands in a virtual environment for as long as that is being made."""
        return self.venv / "unfinished"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def stamp(self, requirements: str) -> Path:
        """Give the file that holds the fingerprint of a finished installation."""
        return self.venv / f"{requirements}.sha256"

    def fingerprint(self, requirements: str) -> str:
        """Give a hash of all that an installation depends on: interpreter, packages present, files' text."""
        packages = "Lib/site-packages" if sys.platform == "win32" else "lib/python3*/site-packages"
        parts = [os.path.realpath(self.python).encode()]
        parts += sorted(info.name.encode() for info in self.venv.glob(f"{packages}/*.dist-info"))
        parts += [(self.root / name).read_bytes() for name in INCLUDES[requirements]]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def is_ready(self, requirements: str) -> bool:
        """Tell whether these requirements are installed, as they stand now."""
        try:
            stamped = self.stamp(requirements).read_text(encoding="ascii")
        except OSError:
            return False
        return os.access(self.python, os.X_OK) and stamped == self.fingerprint(requirements)


def main(arguments: Sequence[str]) -> int:
    """Set up, then become the program; returns only where that failed, and on Windows."""
    clone = Clone(Path(__file__).resolve().parent)
    _end_cleanly_by_signals()
    # The doctor says what is missing, before anything is brought; a cleanup needs no browser.
    report = bool({"-h", "--help", "--version"}.intersection(arguments)) or arguments[:1] in REPORTS
    _let_every_character_out()
    try:
        if arguments[:1] == ["test"]:
            prepare(clone, DEVELOPMENT, browser=not report)
            os.chdir(clone.root)
            return become([str(clone.python), "-m", "pytest", *arguments[1:]])
        with contextlib.redirect_stdout(sys.stderr if report else sys.stdout):
            prepare(clone, RUNTIME, browser=not report)
        return become([str(clone.python), str(clone.root / "app.py"), *arguments])
    except StartRefused as error:
        return _failed(error.message, REFUSED)
    except SetupError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error}: make sure that this user may write in {clone.root} and start programs")
    except KeyboardInterrupt:
        sys.stderr.write("run.py: stopped\n")
        return 130


def prepare(clone: Clone, requirements: str, *, browser: bool) -> None:
    """Do what is missing: the virtual environment, its packages, and where wanted Chrome and ChromeDriver."""
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
    """Bring the virtual environment to these requirements, unless another `run.py` has just done it."""
    if clone.is_ready(requirements):
        return
    if not is_sound(clone):
        make_venv(clone, lock)
    install(clone, requirements, lock)


def is_sound(clone: Clone) -> bool:
    """Tell whether there is a whole virtual environment, of a Python that is new enough, and with pip."""
    if clone.unfinished.exists() or not os.access(clone.python, os.X_OK):
        return False
    command = [str(clone.python), "-c", SOUND]
    probe = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - ours
    return probe.returncode == 0


def make_venv(clone: Clone, lock: int) -> None:
    """Make the virtual environment, in the place of a damaged one."""
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise SetupError(
            "this Python cannot make a virtual environment: run `apt-get install python3-venv`, then again"
        )
    if Path(sys.prefix) == clone.venv:
        raise SetupError("run.py has to make .venv anew and runs in it: start it with the system's python3")
    say(f"Making .venv with Python {sys.version.split()[0]}")
    if clone.venv.exists():
        shutil.rmtree(clone.venv)
    clone.venv.mkdir()
    clone.unfinished.touch()
    command = [sys.executable, "-m", "venv", str(clone.venv)]
    run_step(command, "making .venv failed: mend what the output above says, then run this again", lock)
    clone.unfinished.unlink()


def install(clone: Clone, requirements: str, lock: int) -> None:
    """Install with pip, and stamp what is installed once that is finished."""
    say(f"Installing {requirements} into .venv")
    for name in INCLUDES:
        clone.stamp(name).unlink(missing_ok=True)
    pip = [str(clone.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "-r", str(clone.root / requirements)]
    run_step(
        command, f"pip could not install {requirements}: mend what it says above, then run this again", lock
    )
    for name in INCLUDES[requirements]:
        clone.stamp(name).write_text(clone.fingerprint(name), encoding="ascii")


def can_install_browser(os_release: Path, setting: Callable[[str], "str | None"]) -> bool:
    """Tell whether apt may bring the browser: a real Debian, as root, and no browser of one's own is set."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    if setting(binaries.CHROME_VARIABLE) or setting(binaries.CHROMEDRIVER_VARIABLE):
        return False
    return os_release.is_file() and "ID=debian" in os_release.read_text(encoding="utf-8").splitlines()


def install_browser() -> None:
    """Install Debian's Chromium and its ChromeDriver."""
    say("Installing Debian's chromium and chromium-driver with apt-get")
    otherwise = "apt-get could not install the browser: mend what it says above, then run this again"
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=120"]
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_step([*apt, "update"], otherwise, environ=environ, patience=APT_PATIENCE_S)
    run_step(
        [*apt, "install", "-y", "chromium", "chromium-driver"],
        otherwise,
        environ=environ,
        patience=APT_PATIENCE_S,
    )


def tell_browser() -> None:
    """Say which Chrome and ChromeDriver there are, or that Selenium Manager will be asked for them."""
    chrome = binaries.find_chrome(find_setting(binaries.CHROME_VARIABLE))
    chromedriver = binaries.find_chromedriver(find_setting(binaries.CHROMEDRIVER_VARIABLE))
    notice = None if chrome else binaries.snap_notice()
    if notice:
        say(notice)
    say(f"Chrome: {chrome or LATER}; ChromeDriver: {chromedriver or LATER}")


def find_setting(name: str) -> "str | None":
    """Give a setting as the service will read it: the environment's, else that of `.env` in this folder."""
    if name in os.environ:
        return os.environ[name]
    try:
        lines = Path(".env").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
    return next((value.strip().strip("'\"") for key, _, value in pairs if key.strip() == name), None)


def run_step(
    command: Sequence[str],
    otherwise: str,
    lock: "int | None" = None,
    environ: "Mapping[str, str] | None" = None,
    patience: float = PIP_PATIENCE_S,
) -> None:
    """Run a child to its end; its output is shown only if it fails, and it never outlives us.

    Args:
        command: The program and its arguments.
        otherwise: What to do if it fails.
        lock: A lock to share with the child: should we be killed, nobody else starts before it has ended.
        environ: Its environment, ours if None.
        patience: Seconds it has to end after it was told to.

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
            _end(child, patience)
            raise
        if code != 0:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
            raise SetupError(otherwise)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the lock file, so that one `run.py` at a time changes the set-up; gives its file descriptor.

    Raises:
        SetupError: Somebody else has held it for fifteen minutes.
    """
    deadline = time.monotonic() + LOCK_PATIENCE_S
    with path.open("ab") as file:
        if not _try_lock(file.fileno()):
            say("Waiting for another run.py that is setting up")
            while not _try_lock(file.fileno()):
                if time.monotonic() > deadline:
                    raise SetupError(
                        "another run.py has been setting up for fifteen minutes: end it, then run this again"
                    )
                time.sleep(0.1)
        yield file.fileno()


def become(command: Sequence[str], system: str = sys.platform) -> int:
    """Become the program; on Windows, which has no such thing, run it as a child and give its exit code."""
    sys.stdout.flush()
    if system != "win32":
        os.execv(command[0], [*command])  # noqa: S606 - becoming another program is the purpose
    child = subprocess.Popen(command)  # noqa: S603 - as above
    while True:
        # The console sends Ctrl-C to the child as well, and the child decides how to end.
        with contextlib.suppress(KeyboardInterrupt):
            return child.wait()


def say(line: str) -> None:
    """Say what is being done."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _missing() -> bool:
    chrome = binaries.find_chrome(find_setting(binaries.CHROME_VARIABLE))
    return chrome is None or binaries.find_chromedriver(find_setting(binaries.CHROMEDRIVER_VARIABLE)) is None


def _own_group(lock: "int | None") -> "dict[str, Any]":
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True, "pass_fds": () if lock is None else (lock,)}


def _end(child: "subprocess.Popen[bytes]", patience: float) -> None:
    """End a child of ours with all that it has started."""
    if sys.platform == "win32":
        child.kill()
        child.wait()
        return
    try:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, signal.SIGINT)
            child.wait(patience)
    finally:
        # What the child has left behind, and after a second Ctrl-C, which asks for no more patience, itself.
        # While one of its group lives, the system gives this number to nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _end_cleanly_by_signals() -> None:
    numbers = [signal.SIGTERM] if sys.platform == "win32" else [signal.SIGTERM, signal.SIGHUP]
    for number in numbers:
        # What is ignored, as SIGHUP is under nohup, has to stay so for the program that we become.
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


def _let_every_character_out() -> None:
    """Let a console that cannot show a character show its number: a name must not end a program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
