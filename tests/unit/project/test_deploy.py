"""The files in deploy/ contain what they must, and name only existing settings."""

from __future__ import annotations

import configparser
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from drover.cli import commands
from drover.core.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
TEXTS = [
    DEPLOY / name
    for name in (
        "drover.service",
        "drover-task.xml",
        "windows_task.py",
        "drover.plist",
        "Dockerfile",
        "crontab",
    )
]
COMPOSE = ROOT / "compose.yaml"
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
# Cron jobs and tests have switches of their own under the same prefix.
NO_SETTINGS = {"DROVER_TEST_SYSTEM_WIDE"}


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "drover.service", encoding="utf-8")
    return parser


@pytest.mark.parametrize("path", [*TEXTS, COMPOSE, *DOCUMENTS], ids=lambda path: path.name)
def test_every_named_variable_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bDROVER_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named <= SETTINGS | NO_SETTINGS


def test_every_file_is_explained() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert [path.name for path in TEXTS if f"deploy/{path.name}" not in text.replace("\\", "/")] == []


def test_systemd_leaves_the_browsers_to_drover_and_restarts_after_a_crash_only() -> None:
    service = unit()["Service"]
    assert service["KillMode"] == "process"
    assert service["OOMPolicy"] == "continue"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", str(commands.REFUSED))
    assert unit()["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["User"] not in {"root", ""}
    assert int(service["TimeoutStopSec"]) >= 15


@pytest.mark.parametrize(
    "forbidding",
    ["RestrictNamespaces", "SystemCallFilter", "MemoryDenyWriteExecute", "ProtectProc", "PrivateUsers"],
)
def test_systemd_forbids_nothing_that_chrome_or_a_cleanup_needs(forbidding: str) -> None:
    assert forbidding not in unit()["Service"]


def test_systemd_lets_the_service_write_where_its_data_folder_is() -> None:
    service = (DEPLOY / "drover.service").read_text(encoding="utf-8")
    assert "ProtectSystem=strict" in service
    assert "StateDirectory=drover\n" in service
    assert "Environment=DROVER_DATA_DIR=/var/lib/drover\n" in service


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "drover.service").read_text(encoding="utf-8")
    installed = tmp_path / "drover.service"
    installed.write_text(text.replace("/opt/drover/.venv/bin/python", sys.executable), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_launchd_leaves_the_browsers_to_drover_and_restarts_after_a_crash_only() -> None:
    agent = plistlib.loads((DEPLOY / "drover.plist").read_bytes())
    assert agent["AbandonProcessGroup"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["ProgramArguments"][-1].endswith("/app.py")
    assert agent["ExitTimeOut"] >= 15


def test_launchd_allows_more_than_256_files_and_keeps_the_log_where_logs_are() -> None:
    agent = plistlib.loads((DEPLOY / "drover.plist").read_bytes())
    assert agent["SoftResourceLimits"]["NumberOfFiles"] > 256
    assert agent["StandardErrorPath"].startswith("/Users/YOU/Library/Logs/")


def test_the_windows_task_restarts_the_service() -> None:
    task = ET.fromstring((DEPLOY / "drover-task.xml").read_text(encoding="utf-8"))  # noqa: S314 - our own file
    repetition = task.find(f"{TASK}Triggers/{TASK}LogonTrigger/{TASK}Repetition")
    assert repetition is not None
    assert repetition.findtext(f"{TASK}Interval") == "PT1M"
    # Without a duration the repetition never ends.
    assert repetition.find(f"{TASK}Duration") is None


def test_the_windows_task_has_no_time_limit_no_privileges_and_one_instance() -> None:
    task = ET.fromstring((DEPLOY / "drover-task.xml").read_text(encoding="utf-8"))  # noqa: S314 - our own file
    found = {element.tag.removeprefix(TASK): (element.text or "").strip() for element in task.iter()}
    assert found["ExecutionTimeLimit"] == "PT0S"
    assert found["RunLevel"] == "LeastPrivilege"
    assert found["MultipleInstancesPolicy"] == "IgnoreNew"
    assert (found["DisallowStartIfOnBatteries"], found["StopIfGoingOnBatteries"]) == ("false", "false")


def test_the_windows_task_runs_its_script_without_a_console() -> None:
    task = ET.fromstring((DEPLOY / "drover-task.xml").read_text(encoding="utf-8"))  # noqa: S314 - our own file
    action = task.find(f"{TASK}Actions/{TASK}Exec")
    assert action is not None
    assert (action.findtext(f"{TASK}Command") or "").endswith("\\pythonw.exe")
    script = (action.findtext(f"{TASK}Arguments") or "").replace("\\", "/").partition("/drover/")[2]
    assert (ROOT / script).is_file()


def test_the_container_has_an_init_and_a_user_and_contains_no_token() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["tini", "--",' in text
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users == ["drover"]
    assert text.index("USER drover") > text.index("COPY . .")
    assert "API_TOKEN=" not in text


def test_the_image_is_built_from_what_it_starts() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    (entry,) = re.findall(r'"/opt/drover/(\w+\.py)"\]$', text, re.MULTILINE)
    assert (ROOT / entry).is_file()
    assert not {entry, "drover", "requirements.txt", "session_manager.py", "process_cleanup.py"} & {*ignored}


def test_compose_runs_the_image_on_this_machine_only_and_with_a_token() -> None:
    (service,) = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values()
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["ports"] == ["127.0.0.1:5010:5010"]
    assert service["environment"].keys() <= SETTINGS
    assert service["environment"]["DROVER_API_TOKEN"].startswith("${DROVER_API_TOKEN:?")
    assert service["shm_size"] == "1gb"
    # The image starts tini itself.
    assert "init" not in service


def test_compose_keeps_the_data_folder_of_the_image() -> None:
    content = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    (mount,) = content["services"]["drover"]["volumes"]
    volume, _, folder = mount.partition(":")
    assert volume in content["volumes"]
    assert f"DROVER_DATA_DIR={folder} " in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_crontab_cleans_up_and_has_no_percent_sign() -> None:
    lines = [line for line in (DEPLOY / "crontab").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert any("app.py cleanup" in line for line in lines)
    assert any(line.startswith("@reboot") for line in lines)
    assert not any("%" in line for line in lines)
