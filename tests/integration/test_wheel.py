"""The wheel, built and installed for real without a network: what is in it, and its command."""

from __future__ import annotations

import configparser
import email
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.version import Version

from drover.core.version import VERSION
from tests.machine import remove, short_folder

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("drover", "LICENSE", "README.md", "pyproject.toml", "requirements.txt")
BUILD_S = 100
OLDEST_SETUPTOOLS = Version("77")


def can_build() -> bool:
    """Return whether setuptools is here, new enough for pyproject.toml."""
    try:
        return Version(version("setuptools")) >= OLDEST_SETUPTOOLS
    except PackageNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not can_build(), reason="setuptools 77 or newer is not installed")


def pip(*arguments: str, cwd: Path) -> None:
    """Run pip without a network."""
    command = [sys.executable, "-m", "pip", *arguments, "--no-index", "--no-deps", "-qq"]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=BUILD_S
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = short_folder()
    yield folder
    remove(folder)


@pytest.fixture(scope="module")
def wheel(home: Path) -> Path:
    """Build the wheel in a copy of the clone, since a build leaves files in the folder it is made in."""
    clone = home / "clone"
    clone.mkdir()
    for source in [*(ROOT / name for name in SOURCES), *ROOT.glob("*.py")]:
        if source.is_dir():
            shutil.copytree(source, clone / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, clone)
    (clone / "tests").mkdir()
    (clone / "tests" / "test_of_the_clone.py").touch()
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(home), ".", cwd=clone)
    (built,) = home.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(home: Path, wheel: Path) -> Path:
    target = home / "installed"
    pip("install", "--target", str(target), str(wheel), cwd=home)
    return target


@pytest.mark.exhaustive
def test_the_wheel_is_for_every_system_and_has_the_version(wheel: Path) -> None:
    assert wheel.name == f"drover-{Version(VERSION)}-py3-none-any.whl"


@pytest.mark.exhaustive
def test_the_wheel_holds_the_package_and_two_modules_and_nothing_else(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "drover").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected | {"process_cleanup.py", "session_manager.py"}
    assert names >= {
        "drover/py.typed",
        "drover/web/templates/dashboard.html",
        "drover/web/static/dashboard.js",
        "drover/web/static/docs/docs.js",
    }


def test_the_metadata_name_the_requirements_the_license_and_the_command(wheel: Path) -> None:
    info = f"drover-{Version(VERSION)}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        scripts = configparser.ConfigParser()
        scripts.read_string(archive.read(f"{info}/entry_points.txt").decode())
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert len(metadata.get_all("Requires-Dist", [])) == len([line for line in lines if line[:1] != "#"])
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("MIT", ">=3.10")
    assert dict(scripts["console_scripts"]) == {"drover": "drover.cli.commands:main"}


def run_installed(installed: Path, *arguments: str) -> str:
    """Run the installed command outside the clone, and return what it prints."""
    (command,) = [path for path in installed.glob("*/drover*") if path.parent.name in {"bin", "Scripts"}]
    done = subprocess.run(
        [str(command), *arguments],
        cwd=installed.parent,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.exhaustive
def test_the_command_has_its_own_name_and_the_version_as_it_is_written(installed: Path) -> None:
    assert run_installed(installed, "--version") == f"Drover {VERSION}\n"
    assert run_installed(installed, "--help").startswith("usage: drover ")
    assert not (installed / "app.py").exists()


def test_the_clones_entry_point_is_called_by_its_file() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.startswith("usage: app.py ")
