"""The decisions of run.py; its effects on a machine are tested in integration."""

from __future__ import annotations

import ast
import importlib.util
import sys
import threading
from pathlib import Path

import pytest

import run
from drover.browser import binaries
from drover.core.settings import Settings
from tests.systems import NEEDS_LINKS

ROOT = Path(run.__file__).parent


@pytest.fixture
def clone(folder: Path) -> run.Clone:
    """Return a clone whose virtual environment looks installed."""
    made = run.Clone(folder)
    made.python.parent.mkdir(parents=True)
    made.python.touch(mode=0o700)
    packages = made.venv / (
        "Lib/site-packages" if sys.platform == "win32" else "lib/python3.11/site-packages"
    )
    (packages / "flask-3.1.3.dist-info").mkdir(parents=True)
    (folder / run.RUNTIME).write_text("flask\n")
    (folder / run.DEVELOPMENT).write_text("-r requirements.txt\npytest\n")
    return made


def stamp(clone: run.Clone, *names: str) -> None:
    for name in names:
        clone.stamp(name).write_text(clone.fingerprint(name))


def test_a_stamped_installation_is_ready(clone: run.Clone) -> None:
    assert not clone.is_ready(run.RUNTIME)
    stamp(clone, run.RUNTIME)
    assert clone.is_ready(run.RUNTIME)
    assert not clone.is_ready(run.DEVELOPMENT)


@pytest.mark.parametrize("name", [run.RUNTIME, run.DEVELOPMENT])
def test_a_changed_file_is_installed_again(clone: run.Clone, name: str) -> None:
    stamp(clone, run.RUNTIME, run.DEVELOPMENT)
    with (clone.root / name).open("a") as file:
        file.write("requests\n")
    assert clone.is_ready(run.RUNTIME) == (name == run.DEVELOPMENT)
    assert not clone.is_ready(run.DEVELOPMENT)


def test_a_package_that_is_gone_is_installed_again(clone: run.Clone) -> None:
    stamp(clone, run.RUNTIME)
    next(clone.venv.rglob("*.dist-info")).rmdir()
    assert not clone.is_ready(run.RUNTIME)


@NEEDS_LINKS
def test_another_interpreter_under_the_same_name_is_not_ready(clone: run.Clone, folder: Path) -> None:
    stamp(clone, run.RUNTIME)
    other = folder / "python3.99"
    other.touch(mode=0o700)
    clone.python.unlink()
    clone.python.symlink_to(other)
    assert not clone.is_ready(run.RUNTIME)


def test_a_virtual_environment_without_its_interpreter_is_neither_ready_nor_sound(clone: run.Clone) -> None:
    clone.python.unlink()
    stamp(clone, run.RUNTIME)
    assert not clone.is_ready(run.RUNTIME)
    assert not run.is_sound(clone)


def test_a_half_made_virtual_environment_is_not_sound(clone: run.Clone) -> None:
    clone.unfinished.touch()
    assert not run.is_sound(clone)


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_a_python_without_ensurepip_or_venv_names_debians_package(
    monkeypatch: pytest.MonkeyPatch, clone: run.Clone, module: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(run.SetupError, match="apt-get install python3-venv"):
        run.make_venv(clone, lock=0)


def test_the_virtual_environment_is_not_replaced_from_within(
    monkeypatch: pytest.MonkeyPatch, clone: run.Clone
) -> None:
    monkeypatch.setattr(sys, "prefix", str(clone.venv))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(run.SetupError, match="system's python3"):
        run.make_venv(clone, lock=0)
    assert clone.python.exists()


DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
UBUNTU = 'PRETTY_NAME="Ubuntu 24.04"\nID=ubuntu\nID_LIKE=debian\n'
NO_SETTINGS: dict[str, str] = {}


@pytest.mark.skipif(sys.platform != "linux", reason="apt is Linux's")
@pytest.mark.parametrize(
    ("release", "user", "apt", "settings", "expected"),
    [
        (DEBIAN, 0, "/usr/bin/apt-get", NO_SETTINGS, True),
        (DEBIAN, 1000, "/usr/bin/apt-get", NO_SETTINGS, False),
        (DEBIAN, 0, None, NO_SETTINGS, False),
        (UBUNTU, 0, "/usr/bin/apt-get", NO_SETTINGS, False),
        (None, 0, "/usr/bin/apt-get", NO_SETTINGS, False),
        (DEBIAN, 0, "/usr/bin/apt-get", {binaries.CHROME_VARIABLE: "/srv/chrome"}, False),
        (DEBIAN, 0, "/usr/bin/apt-get", {binaries.CHROMEDRIVER_VARIABLE: "/srv/driver"}, False),
    ],
)
def test_apt_installs_the_browser_only_for_root_on_debian_if_none_is_configured(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    release: str | None,
    user: int,
    apt: str | None,
    settings: dict[str, str],
    expected: bool,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("shutil.which", lambda _name: apt)
    file = folder / "os-release"
    if release is not None:
        file.write_text(release)
    assert run.can_install_browser(file, settings.get) is expected


def test_apt_is_updated_and_then_installs_both_without_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def note(command: list[str], advice: str, *, environ: dict[str, str], grace_s: float) -> None:
        assert environ["DEBIAN_FRONTEND"] == "noninteractive"
        asked.append([word for word in command if "::" not in word and word != "-o"])

    monkeypatch.setattr(run, "run_step", note)
    run.install_browser()
    assert asked == [["apt-get", "update"], ["apt-get", "install", "-y", "chromium", "chromium-driver"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DROVER_CHROME_BINARY=/srv/chrome\n", "/srv/chrome"),
        ('# mine\nexport DROVER_CHROME_BINARY = "/srv/my chrome"\n', "/srv/my chrome"),
        ("DROVER_CHROME_BINARY=/srv/chrome # Debian's\n", "/srv/chrome"),
        ("DROVER_CHROME_BINARY='/srv/#1 chrome' # Debian's\n", "/srv/#1 chrome"),
        ("DROVER_CHROME_BINARY=/srv/a\nDROVER_CHROME_BINARY=/srv/b#c\n", "/srv/b#c"),
        ("drover_chrome_binary=/srv/chrome\n", "/srv/chrome"),
        ("DROVER_CHROME_BINARY=\n", ""),
        ("DROVER_CHROME_BINARY_OLD=/srv/old\nno variable\n", None),
        ("", None),
    ],
)
def test_a_setting_is_read_from_a_dotenv_file_as_the_service_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str | None
) -> None:
    # The folder is removed last: Windows keeps the current folder of a program.
    monkeypatch.chdir(folder)
    assert run.find_setting("DROVER_CHROME_BINARY") is None
    (folder / ".env").write_text(text)
    assert run.find_setting("DROVER_CHROME_BINARY") == Settings().chrome_binary == expected
    monkeypatch.setenv("DROVER_CHROME_BINARY", "/srv/from environment")
    assert run.find_setting("DROVER_CHROME_BINARY") == "/srv/from environment"


def test_a_missing_browser_is_reported_to_come_from_selenium_manager(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(binaries, "find_chrome", lambda _setting: None)
    monkeypatch.setattr(binaries, "find_chromedriver", lambda _setting: Path("/usr/bin/chromedriver"))
    monkeypatch.setattr(binaries, "snap_notice", lambda: "the snap is not used")
    run.tell_browser()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the snap is not used"
    assert lines[1].startswith("Chrome: not found, so Selenium Manager")
    assert lines[1].endswith(f"ChromeDriver: {Path('/usr/bin/chromedriver')}")


def test_the_lock_is_waited_for_and_released(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    free = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with run.exclusive(folder / "lock"):
            held.set()
            free.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    # The lock is released only when the waiting side sleeps, so it has been seen to wait.
    monkeypatch.setattr("run.time.sleep", lambda _: free.set())
    with run.exclusive(folder / "lock"):
        assert free.is_set()
    holder.join()
    assert "Waiting for another run.py" in capsys.readouterr().out


def test_a_lock_that_is_never_released_ends_in_an_error(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(run, "LOCK_TIMEOUT_S", 0.0)
    with (
        run.exclusive(folder / "lock"),
        pytest.raises(run.SetupError, match="Another"),
        run.exclusive(folder / "lock"),
    ):
        pass


def test_the_file_parses_on_an_old_python_so_that_it_can_say_what_is_missing() -> None:
    ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 7))
    tops = [
        node for node in ast.parse((ROOT / "run.py").read_text()).body if isinstance(node, ast.ImportFrom)
    ]
    assert all(node.module != "__future__" for node in tops)
