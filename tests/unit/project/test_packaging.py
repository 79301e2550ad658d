"""pyproject.toml describes the package as it stands: version, dependencies, modules, data and command."""

from __future__ import annotations

import importlib
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from drover.core.version import VERSION

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "drover"
SEMANTIC = re.compile(r"\d+\.\d+\.\d+(-(alpha|beta|rc)(\.\d+)?)?")
# The clone's own: started by path, not installed.
NOT_INSTALLED = {"app", "run"}
PYTHON = "Programming Language :: Python :: "


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def project(pyproject: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pyproject["project"]
    return found


@pytest.fixture(scope="module")
def setuptools(pyproject: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pyproject["tool"]["setuptools"]
    return found


def supported(project: dict[str, Any]) -> list[str]:
    """Return the Python versions that the classifiers name."""
    names = [one.removeprefix(PYTHON) for one in project["classifiers"] if one.startswith(PYTHON)]
    return [name for name in names if re.fullmatch(r"3\.\d+", name)]


def test_the_version_is_a_semantic_one_that_pep_440_understands() -> None:
    assert SEMANTIC.fullmatch(VERSION)
    assert Version(VERSION).release == tuple(map(int, VERSION.split("-")[0].split(".")))
    assert Version(VERSION).is_prerelease == ("-" in VERSION)


def test_version_and_dependencies_have_one_source_each(
    project: dict[str, Any], setuptools: dict[str, Any]
) -> None:
    assert set(project["dynamic"]) == {"dependencies", "optional-dependencies", "version"}
    module, _, name = setuptools["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(importlib.import_module(module), name) == VERSION
    extra = setuptools["dynamic"]["optional-dependencies"]["cluster"]
    for source in (setuptools["dynamic"]["dependencies"], extra):
        text = (ROOT / source["file"]).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line[:1] != "#"]
        assert lines
        assert all(Requirement(line).specifier for line in lines)


def test_the_command_is_a_function_of_the_command_line(project: dict[str, Any]) -> None:
    assert project["scripts"].keys() == {"drover"}
    module, _, function = project["scripts"]["drover"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_module_of_the_top_level_is_installed_or_the_clones_own(setuptools: dict[str, Any]) -> None:
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert set(setuptools["py-modules"]) == modules - NOT_INSTALLED


def test_every_folder_of_the_package_with_modules_is_a_package(setuptools: dict[str, Any]) -> None:
    assert setuptools["packages"]["find"]["include"] == ["drover*"]
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_data_file_of_the_package_is_installed(setuptools: dict[str, Any]) -> None:
    installed = [
        f"{name.replace('.', '/')}/{pattern}"
        for name, patterns in setuptools["package-data"].items()
        for pattern in patterns
    ]
    files = [
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]
    assert "drover/py.typed" in files
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in installed)] == []


def test_the_license_is_the_file_that_lies_in_the_clone(project: dict[str, Any]) -> None:
    assert [(ROOT / name).is_file() for name in project["license-files"]] == [True]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(f"{project['license']} License")


def test_the_oldest_python_is_the_same_for_pip_ruff_and_mypy(pyproject: dict[str, Any]) -> None:
    oldest = supported(pyproject["project"])[0]
    assert pyproject["project"]["requires-python"] == f">={oldest}"
    assert pyproject["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert pyproject["tool"]["mypy"]["python_version"] == oldest


def test_every_python_that_is_supported_is_tested(project: dict[str, Any]) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == supported(project)
