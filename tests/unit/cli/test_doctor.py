"""The checks of `doctor` on simulated readings: one finding at a time, each with its advice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drover.cli.doctor import (
    Check,
    DataFolder,
    PortHolder,
    ProgramReading,
    Sandbox,
    Status,
    SystemReadings,
    judge,
    worst,
)

FOLDER = DataFolder(Path("/data"), None, writable=True, share=None, full=None)
SANDBOX = Sandbox(as_root=False, namespaces=True, helper=False, apparmor=False)
WELL = SystemReadings(
    system="linux",
    refusal=None,
    chrome=ProgramReading(Path("/usr/bin/chromium"), "156.0.1"),
    driver=ProgramReading(Path("/usr/bin/chromedriver"), "156.0.1"),
    snap_notice=None,
    sandbox=SANDBOX,
    shared_memory=2 << 30,
    data_folder=FOLDER,
    port=5010,
    port_holder=PortHolder.NONE,
    sees_others=True,
    ends_others=False,
    chromes_of_others=0,
    orphans_reaped=True,
)


def found(name: str, readings: SystemReadings) -> Check:
    (check,) = [check for check in judge(readings) if check.name == name]
    return check


def test_a_healthy_machine_gets_no_advice() -> None:
    checks = judge(WELL)
    assert worst(checks) is Status.OK
    assert [check.advice for check in checks if check.advice] == []
    assert len({check.name for check in checks}) == len(checks)


@pytest.mark.parametrize(
    ("readings", "name", "status", "advice"),
    [
        (replace(WELL, refusal="set DROVER_API_TOKEN"), "settings", Status.PROBLEM, "DROVER_API_TOKEN"),
        (replace(WELL, chrome=ProgramReading(None)), "chrome", Status.WARNING, "install Google Chrome"),
        (replace(WELL, driver=ProgramReading(None)), "chromedriver", Status.WARNING, "chromium-driver"),
        (
            replace(
                WELL, chrome=ProgramReading(None, refusal="it comes from snap: name Google Chrome's instead")
            ),
            "chrome",
            Status.PROBLEM,
            "Google Chrome",
        ),
        (
            replace(WELL, chrome=ProgramReading(None), snap_notice="/snap/bin/chromium is not used"),
            "chrome",
            Status.WARNING,
            "/snap/bin/chromium is not used",
        ),
        (replace(WELL, chrome=ProgramReading(Path("/c"))), "chrome", Status.PROBLEM, "c --version"),
        (replace(WELL, driver=ProgramReading(Path("/d"))), "chromedriver", Status.PROBLEM, "d --version"),
        (
            replace(WELL, system="darwin", driver=ProgramReading(Path("/d"))),
            "chromedriver",
            Status.PROBLEM,
            "xattr -d com.apple.quarantine",
        ),
        (
            replace(WELL, driver=ProgramReading(Path("/d"), "114.0.1")),
            "chromedriver",
            Status.PROBLEM,
            "115 or later",
        ),
        (replace(WELL, store_python=True), "python", Status.WARNING, "python.org"),
        (
            replace(WELL, system="win32", port_holder=PortHolder.FORBIDDEN),
            "port",
            Status.PROBLEM,
            "excludedportrange",
        ),
        (
            replace(WELL, driver=ProgramReading(Path("/d"), "99.0.1")),
            "versions",
            Status.PROBLEM,
            "major versions must be equal",
        ),
        (
            replace(WELL, sandbox=replace(SANDBOX, as_root=True)),
            "sandbox",
            Status.WARNING,
            "normal user",
        ),
        (
            replace(WELL, sandbox=replace(SANDBOX, namespaces=False)),
            "sandbox",
            Status.PROBLEM,
            "unprivileged_userns_clone",
        ),
        (
            replace(WELL, sandbox=replace(SANDBOX, namespaces=False, apparmor=True)),
            "sandbox",
            Status.WARNING,
            "profile",
        ),
        (replace(WELL, shared_memory=64 << 20), "shared memory", Status.WARNING, "--shm-size"),
        (
            replace(WELL, data_folder=replace(FOLDER, refusal="its path is 9 characters too long")),
            "data folder",
            Status.PROBLEM,
            "too long",
        ),
        (
            replace(WELL, data_folder=replace(FOLDER, writable=False)),
            "data folder",
            Status.PROBLEM,
            "DROVER_DATA_DIR",
        ),
        (
            replace(WELL, data_folder=replace(FOLDER, full="make room")),
            "data folder",
            Status.PROBLEM,
            "make room",
        ),
        (
            replace(WELL, data_folder=replace(FOLDER, share="nfs4")),
            "data folder",
            Status.WARNING,
            "local disk",
        ),
        (replace(WELL, port_holder=PortHolder.ANOTHER_PROGRAM), "port", Status.PROBLEM, "DROVER_PORT"),
        (replace(WELL, port_holder=PortHolder.ANOTHER_DROVER), "port", Status.PROBLEM, "stop that"),
        (replace(WELL, port_holder=PortHolder.FORBIDDEN), "port", Status.PROBLEM, "1023"),
        (replace(WELL, sees_others=False), "permissions", Status.WARNING, "hidepid"),
        (replace(WELL, chromes_of_others=3), "permissions", Status.WARNING, "as root"),
        (replace(WELL, people=("ada", "bob")), "other users", Status.WARNING, "firewall rule"),
        (replace(WELL, orphans_reaped=False), "init", Status.WARNING, "docker run --init"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_every_finding_has_its_advice(
    readings: SystemReadings, name: str, status: Status, advice: str
) -> None:
    check = found(name, readings)
    assert check.status is status
    assert check.advice is not None
    assert advice in check.advice
    assert worst(judge(readings)) is status


@pytest.mark.parametrize(
    "readings",
    [
        replace(WELL, sandbox=replace(SANDBOX, namespaces=False, helper=True)),
        replace(WELL, sandbox=replace(SANDBOX, namespaces=None)),
        replace(WELL, port_holder=PortHolder.OURS),
        replace(WELL, ends_others=True, chromes_of_others=3),
        replace(WELL, snap_notice="/snap/bin/chromium is not used"),
        replace(WELL, system="win32", chrome=ProgramReading(Path("c.exe"))),
    ],
)
def test_working_alternatives_are_ok(readings: SystemReadings) -> None:
    assert worst(judge(readings)) is Status.OK


def test_there_is_no_check_for_what_is_absent_or_could_not_be_tested() -> None:
    names = {check.name for check in judge(replace(WELL, shared_memory=None, orphans_reaped=None))}
    assert names.isdisjoint({"shared memory", "init"})
    assert "versions" not in {check.name for check in judge(replace(WELL, chrome=ProgramReading(None)))}


def test_a_problem_outweighs_a_warning() -> None:
    readings = replace(WELL, sees_others=False, port_holder=PortHolder.ANOTHER_PROGRAM)
    assert worst(judge(readings)) is Status.PROBLEM
