"""run.py for real: in its own clone, with pip, signals and processes, and no network."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import run
from tests.machine import marked, remove, run_concurrently, short_folder, wait_until

ROOT = Path(__file__).resolve().parents[2]
APP = "import sys, greeting; print('app', *sys.argv[1:]); sys.exit(7)"
PYTEST = "import os, sys; print('pytest', *sys.argv[1:], os.getcwd())"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and exec exist only on POSIX")


def wheel(folder: Path, name: str, module: str) -> Path:
    """Create a package of one module, so that pip can install something without a network."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", module)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


@functools.cache
def needed() -> tuple[str, ...]:
    """Return the files that run.py imports, relative to the project; without any installed package."""
    listing = (
        "import sys, run; own = ('run', 'drover'); "
        "print(*(one.__file__ for name, one in sys.modules.items() if name.split('.')[0] in own), sep='\\n')"
    )
    command = [sys.executable, "-S", "-c", listing]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(str(Path(file).relative_to(ROOT)) for file in shown.splitlines())


# A browser is set, so that no test installs one.
SET = {"DROVER_CHROME_BINARY": sys.executable, "DROVER_CHROMEDRIVER": sys.executable}


class Clone:
    """A folder with run.py, a tiny app.py, and requirements that are local files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.browser = SET
        for name in needed():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / "app.py").write_text(APP)
        self.require(str(wheel(folder, "greeting", "")))
        (folder / "requirements-dev.txt").write_text(
            f"-r requirements.txt\n{wheel(folder, 'pytest', PYTEST)}\n"
        )

    def require(self, *lines: str) -> None:
        (self.folder / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(self.folder / "run.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.browser, "PIP_RETRIES": "0"},
            cwd="/",
        )

    def run(self, *arguments: str) -> tuple[int, list[str], str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out.splitlines(), err


def fingerprint(folder: Path) -> str:
    names = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts
    )
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


@pytest.fixture(scope="module")
def first_runs() -> Iterator[tuple[Clone, list[tuple[int, list[str], str]]]]:
    """Return a clone, and the output of its first two run.py, which were started at the same moment."""
    clone = Clone(short_folder())
    try:
        yield clone, run_concurrently([lambda: clone.run("one", "--two"), lambda: clone.run("three")])
    finally:
        remove(clone.folder)


@pytest.fixture
def clone(first_runs: tuple[Clone, list[tuple[int, list[str], str]]]) -> Clone:
    """Return a clone that is set up; each test leaves it set up, or the next one sets it up again."""
    clone = first_runs[0]
    clone.require(str(clone.folder / "greeting-1.0-py3-none-any.whl"))
    return clone


def test_two_concurrent_first_runs_set_up_once_and_both_become_app(
    first_runs: tuple[Clone, list[tuple[int, list[str], str]]],
) -> None:
    codes, outs, errs = zip(*first_runs[1], strict=True)
    assert codes == (7, 7), errs
    assert errs == ("", "")
    assert [out[-1] for out in outs] == ["app one --two", "app three"]
    steps = [line.split()[0] for out in outs for line in out]
    assert steps.count("Creating") == 1
    assert steps.count("Installing") == 1


def test_a_run_without_changes_prints_and_changes_nothing(clone: Clone) -> None:
    clone.run()
    before = fingerprint(clone.folder)
    assert clone.run("--help") == (7, ["app --help"], "")
    assert fingerprint(clone.folder) == before


def test_output_for_programs_contains_no_set_up_messages(clone: Clone) -> None:
    more = wheel(clone.folder, "another", "")
    clone.require(str(clone.folder / "greeting-1.0-py3-none-any.whl"), str(more))
    code, out, err = clone.run("processes", "--json")
    assert (code, out) == (7, ["app processes --json"])
    assert "Installing requirements.txt into .venv" in err


def test_all_commands_but_serve_run_before_any_browser_is_installed(clone: Clone) -> None:
    clone.run()
    clone.browser = {"DROVER_CHROME_BINARY": "/nonexistent/chrome"}
    try:
        code, _, err = clone.run("--headless")
        assert code == 2
        assert "DROVER_CHROME_BINARY" in err
        for command in (
            "doctor --json",
            "cleanup --dry-run",
            "processes --json",
            "keys --json",
            "purge --all",
            "drain",
        ):
            assert clone.run(*command.split()) == (7, [f"app {command}"], "")
    finally:
        clone.browser = SET


@pytest.mark.exhaustive
def test_the_test_command_becomes_pytest_in_the_clone(clone: Clone) -> None:
    code, out, err = clone.run("test", "-q", "tests/unit")
    assert (code, err) == (0, "")
    assert "Installing requirements-dev.txt into .venv" in out
    assert out[-1] == f"pytest -q tests/unit {clone.folder}"
    assert clone.run("test") == (0, [f"pytest {clone.folder}"], "")
    assert clone.run() == (7, ["app"], "")


def test_changed_requirements_are_installed(clone: Clone) -> None:
    more = wheel(clone.folder, "more", "")
    clone.require(str(clone.folder / "greeting-1.0-py3-none-any.whl"), str(more))
    code, out, _ = clone.run()
    assert (code, out[0]) == (7, "Installing requirements.txt into .venv")
    assert list(clone.folder.glob(".venv/lib/python3*/site-packages/more.py"))


@pytest.mark.exhaustive
def test_a_failing_pip_is_shown_with_advice_and_the_next_run_repairs_it(clone: Clone) -> None:
    clone.require(str(clone.folder / "missing-1.0-py3-none-any.whl"))
    code, out, err = clone.run()
    assert (code, out) == (1, ["Installing requirements.txt into .venv"])
    assert "missing-1.0" in err
    assert err.splitlines()[-1].startswith("run.py: pip could not install requirements.txt")
    assert "Traceback" not in err
    clone.require(str(clone.folder / "greeting-1.0-py3-none-any.whl"))
    assert clone.run()[0] == 7


@pytest.mark.exhaustive
@pytest.mark.parametrize("damage", ["packages gone", "half-made"])
def test_a_damaged_virtual_environment_is_recreated(clone: Clone, damage: str) -> None:
    venv = clone.folder / ".venv"
    if damage == "half-made":
        (venv / "unfinished").touch()
        (venv / "requirements.txt.sha256").unlink()
    else:
        shutil.rmtree(next(venv.glob("lib/python3*/site-packages")))
    code, out, err = clone.run("again")
    assert (code, out[0].split()[0], out[-1], err) == (7, "Creating", "app again", "")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("number", "expected", "said"),
    [(signal.SIGINT, 130, "run.py: stopped\n"), (signal.SIGTERM, 143, "")],
)
def test_a_signal_during_pip_ends_both_without_a_trace_and_the_next_run_repairs_it(
    clone: Clone, number: signal.Signals, expected: int, said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        clone.require(f"greeting @ http://127.0.0.1:{port}/greeting-1.0-py3-none-any.whl")
        with clone.start() as process:
            pip, _ = silent.accept()
            process.send_signal(number)
            _, err = process.communicate(timeout=20)
            pip.close()
    assert (process.returncode, err) == (expected, said)
    wait_until(lambda: not marked(clone.folder), "end of pip", timeout=1)
    clone.require(str(clone.folder / "greeting-1.0-py3-none-any.whl"))
    assert clone.run()[0] == 7


@pytest.mark.exhaustive
def test_the_next_run_waits_for_a_pip_whose_run_py_was_killed(clone: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        clone.require(f"greeting @ http://127.0.0.1:{silent.getsockname()[1]}/greeting-1.0-py3-none-any.whl")
        with clone.start() as killed:
            pip, _ = silent.accept()
            killed.kill()
        clone.require(str(clone.folder / "greeting-1.0-py3-none-any.whl"))
        with clone.start() as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "Waiting for another run.py to finish its set-up\n"
            pip.close()
            silent.close()
            out, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert out.splitlines()[-1] == "app"


def test_a_folder_that_cannot_be_written_gives_a_one_line_error(folder: Path) -> None:
    clone = Clone(folder)
    (folder / ".venv").write_text("blocks the folder")
    code, _, err = clone.run()
    assert code == 1
    assert err.startswith("run.py: ")
    assert err.count("\n") == 1


def test_signals_ignored_by_nohup_stay_ignored_in_app(clone: Clone) -> None:
    app = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    (clone.folder / "app.py").write_text(app)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code, out, err = clone.run()
        assert (code, out[-1], err) == (0, "True", "")
    finally:
        signal.signal(signal.SIGHUP, before)
        (clone.folder / "app.py").write_text(APP)


def interrupt_once(begun: Path) -> threading.Thread:
    """Send ourselves SIGINT as soon as the file exists."""

    def interrupt() -> None:
        wait_until(begun.exists, "start of the child")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def test_a_step_shows_its_output_only_when_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    run.run_step([sys.executable, "-c", "print('all well')"], "never")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(run.SetupError, match="do this"):
        run.run_step([sys.executable, "-c", "print('the cause'); raise SystemExit(3)"], "do this")
    assert capfd.readouterr() == ("", "the cause\n")


def test_an_interrupted_step_ends_its_child_even_if_that_ignores_the_signal(folder: Path) -> None:
    script = (
        "import pathlib, signal, subprocess, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '{folder}/']);"
        f"pathlib.Path('{folder}/begun').touch(); time.sleep(60)"
    )
    interrupt = interrupt_once(folder / "begun")
    with pytest.raises(KeyboardInterrupt):
        run.run_step([sys.executable, "-c", script], "never", grace_s=0.2)
    interrupt.join()
    wait_until(lambda: not marked(folder), "end of the step's child", timeout=1)


def test_on_windows_the_program_is_a_child_whose_exit_code_is_passed_on() -> None:
    assert run.become([sys.executable, "-c", "raise SystemExit(7)"], "win32") == 7


def test_on_windows_ctrl_c_is_left_to_the_child(folder: Path) -> None:
    script = (
        f"import pathlib, time; pathlib.Path('{folder}/begun').touch(); time.sleep(1); raise SystemExit(7)"
    )
    interrupt = interrupt_once(folder / "begun")
    assert run.become([sys.executable, "-c", script], "win32") == 7
    interrupt.join()
