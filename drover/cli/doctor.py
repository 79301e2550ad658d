"""Checks of the machine's set-up, as pure functions of what was read.

A problem stops the service or makes it useless; with a warning the service works.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from drover.browser.versions import mismatch, too_old, version_advice
from drover.net.listening import RESERVED_PORT
from drover.processes.host.memory import ENOUGH_SHARED_MEMORY

MB = 1_000_000
_TITLES = {"chrome": "Chrome", "chromedriver": "ChromeDriver"}
_INSTALL = "on Debian run `apt-get install chromium chromium-driver`, elsewhere install Google Chrome"


class Status(str, Enum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class PortHolder(Enum):
    """The program that listens on the configured port."""

    NONE = "no program"
    OURS = "the running instance of this data folder"
    ANOTHER_DROVER = "an instance of Drover with another data folder"
    ANOTHER_PROGRAM = "another program"
    FORBIDDEN = "the system"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its result, what was found, and what to do if there is something to do."""

    name: str
    status: Status
    found: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class ProgramReading:
    """Chrome or ChromeDriver: its path and version, or why its setting is refused."""

    path: Path | None
    version: str = ""
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What Chrome's sandbox needs from the system.

    Attributes:
        as_root: This process is root, so Chrome runs without its sandbox.
        namespaces: Whether a user namespace can be created and used; None if the system is not Linux.
        helper: Whether Chrome's setuid helper, owned by root, is installed beside it.
        apparmor: Whether AppArmor restricts user namespaces to programs with a profile.
    """

    as_root: bool
    namespaces: bool | None
    helper: bool
    apparmor: bool


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder, which may not exist yet.

    Attributes:
        refusal: Why its path cannot be used.
        share: The kind of network share that it is on; None if it is on a local disk.
        full: What is full and what to do; None if there is room for new sessions.
    """

    path: Path
    refusal: str | None
    writable: bool
    share: str | None
    full: str | None


@dataclass(frozen=True, slots=True)
class SystemReadings:
    """Everything that was read of the set-up.

    Attributes:
        system: As in `sys.platform`.
        refusal: Why the settings contradict each other.
        snap_notice: The notice about a Chromium from snap that was skipped.
        shared_memory: The size of `/dev/shm` in bytes; None if there is none.
        sees_others: Whether other users' processes are visible.
        ends_others: Whether they could be ended.
        chromes_of_others: Number of Chrome processes of other users.
        people: Names of other persons with processes on this machine.
        store_python: Whether Python is from the Microsoft Store, which redirects its writes below AppData.
        orphans_reaped: Whether processes that lose their parent are reaped; None if that could not be tested.
    """

    system: str
    refusal: str | None
    chrome: ProgramReading
    driver: ProgramReading
    snap_notice: str | None
    sandbox: Sandbox
    shared_memory: int | None
    data_folder: DataFolder
    port: int
    port_holder: PortHolder
    sees_others: bool
    ends_others: bool
    chromes_of_others: int
    orphans_reaped: bool | None
    people: tuple[str, ...] = ()
    store_python: bool = False


def judge(readings: SystemReadings) -> tuple[Check, ...]:
    """Return a check for everything that was read."""
    return (
        _settings(readings),
        _program("chrome", readings.chrome, readings.snap_notice, readings.system),
        _program("chromedriver", readings.driver, None, readings.system),
        *_versions(readings.chrome, readings.driver),
        _sandbox(readings.sandbox),
        *_shared_memory(readings.shared_memory),
        _data_folder(readings.data_folder),
        _port(readings.port, readings.port_holder, readings.system),
        *_store_python(readings.store_python),
        _permissions(readings),
        *_people(readings.people),
        *_init(readings.orphans_reaped),
    )


def worst(checks: Iterable[Check]) -> Status:
    """Return the most serious status among the checks."""
    found = {check.status for check in checks}
    return next((one for one in (Status.PROBLEM, Status.WARNING) if one in found), Status.OK)


def _settings(readings: SystemReadings) -> Check:
    if readings.refusal is None:
        return Check("settings", Status.OK, "consistent")
    return Check("settings", Status.PROBLEM, "the service refuses to start with these", readings.refusal)


def _program(name: str, program: ProgramReading, snap_notice: str | None, system: str) -> Check:
    if program.refusal is not None:
        return Check(name, Status.PROBLEM, "invalid setting", program.refusal)
    if program.path is None:
        found = "not found; Selenium Manager downloads it at the first start, which needs internet access"
        return Check(name, Status.WARNING, found, snap_notice or _INSTALL)
    if not program.version and (name == "chromedriver" or system != "win32"):
        advice = version_advice(program.path, system)
        return Check(name, Status.PROBLEM, f"`{program.path} --version` failed", advice)
    refusal = too_old(_TITLES[name], program.path, program.version)
    if refusal is not None:
        return Check(name, Status.PROBLEM, f"{program.path} {program.version} is too old", refusal)
    return Check(name, Status.OK, f"{program.path} {program.version}".strip())


def _versions(chrome: ProgramReading, driver: ProgramReading) -> Iterator[Check]:
    if chrome.path is None or driver.path is None:
        return
    advice = mismatch(chrome.version, driver.version)
    if advice is None:
        yield Check("versions", Status.OK, "Chrome and ChromeDriver match")
    else:
        yield Check("versions", Status.PROBLEM, "Chrome and ChromeDriver do not match", advice)


def _sandbox(sandbox: Sandbox) -> Check:
    if sandbox.namespaces is None:
        return Check("sandbox", Status.OK, "provided by the system")
    if sandbox.as_root:
        found = "this user is root, so Chrome runs without its sandbox"
        return Check("sandbox", Status.WARNING, found, "run Drover as a normal user")
    if sandbox.helper:
        return Check("sandbox", Status.OK, "Chrome's setuid helper is installed")
    if sandbox.namespaces:
        return Check("sandbox", Status.OK, "user namespaces are available")
    if sandbox.apparmor:
        return Check(
            "sandbox",
            Status.WARNING,
            "AppArmor denies user namespaces to programs without a profile",
            "use Chrome from a package, which has a profile, or add a profile with `userns` for yours",
        )
    return Check(
        "sandbox",
        Status.PROBLEM,
        "this user cannot create user namespaces, so Chrome cannot start its sandbox",
        "run `sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`; in a container "
        "allow them in the seccomp profile, as Chrome's own profile for Docker does",
    )


def _shared_memory(size: int | None) -> Iterator[Check]:
    if size is None:
        return
    if size >= ENOUGH_SHARED_MEMORY:
        yield Check("shared memory", Status.OK, f"{size // MB} MB")
        return
    yield Check(
        "shared memory",
        Status.WARNING,
        f"only {size // MB} MB, so Chrome uses files instead, which is slower",
        "enlarge /dev/shm; with Docker, start the container with `--shm-size=1g`",
    )


def _data_folder(folder: DataFolder) -> Check:
    if folder.refusal is not None:
        return Check("data folder", Status.PROBLEM, f"{folder.path} cannot be used", folder.refusal)
    if not folder.writable:
        advice = "allow this user to write there, or set DROVER_DATA_DIR to another folder"
        return Check("data folder", Status.PROBLEM, f"{folder.path} is not writable", advice)
    if folder.full is not None:
        return Check(
            "data folder", Status.PROBLEM, f"too little room on the disk of {folder.path}", folder.full
        )
    if folder.share is not None:
        found = f"{folder.path} is on a network share ({folder.share}), where browsers are slow"
        return Check("data folder", Status.WARNING, found, "set DROVER_DATA_DIR to a folder on a local disk")
    return Check("data folder", Status.OK, str(folder.path))


def _store_python(is_from_store: bool) -> Iterator[Check]:
    if is_from_store:
        found = "this Python is from the Microsoft Store, and its writes below AppData go to another folder"
        advice = "install Python from python.org, or set DROVER_DATA_DIR to a folder outside AppData"
        yield Check("python", Status.WARNING, found, advice)


def _port(port: int, holder: PortHolder, system: str) -> Check:
    if holder is PortHolder.NONE:
        return Check("port", Status.OK, f"{port} is free")
    if holder is PortHolder.OURS:
        return Check("port", Status.OK, f"{port} is used by {holder.value}")
    if holder is PortHolder.FORBIDDEN:
        found = f"the system does not allow this user to listen on {port}"
        if system == "win32":
            return Check("port", Status.PROBLEM, found, f"{RESERVED_PORT}; set DROVER_PORT to another port")
        advice = "set DROVER_PORT to a port above 1023, and DROVER_HOST to an address of this machine"
        return Check("port", Status.PROBLEM, found, advice)
    found = f"{port} is used by {holder.value}"
    return Check("port", Status.PROBLEM, found, "stop that program, or set DROVER_PORT to another port")


def _permissions(readings: SystemReadings) -> Check:
    if not readings.sees_others:
        return Check(
            "permissions",
            Status.WARNING,
            "other users' processes are not visible, so GET /processes does not list them",
            "mount /proc without `hidepid`, or with its `gid` set to a group of this user",
        )
    if readings.ends_others:
        return Check("permissions", Status.OK, "processes of all users are visible and can be ended")
    if readings.chromes_of_others:
        return Check(
            "permissions",
            Status.WARNING,
            f"an emergency recovery cannot end {readings.chromes_of_others} Chrome processes of other users",
            "end them as those users or as root; cleanups never touch them",
        )
    return Check("permissions", Status.OK, "all processes are visible, and this user's own can be ended")


def _people(names: Sequence[str]) -> Iterator[Check]:
    if names:
        yield Check(
            "other users",
            Status.WARNING,
            f"{', '.join(names)} can read the browsers' cookies and start programs as this user, through the "
            "ports of Chrome and ChromeDriver",
            "run Drover in a container or a network namespace of its own, or add the firewall rule of "
            "docs/security.md",
        )


def _init(orphans_reaped: bool | None) -> Iterator[Check]:
    if orphans_reaped is True:
        yield Check("init", Status.OK, "processes that lose their parent are reaped when they end")
    elif orphans_reaped is False:
        yield Check(
            "init",
            Status.WARNING,
            "processes that lose their parent are not reaped, so defunct ones accumulate",
            "start the container with an init: `docker run --init`, in Compose `init: true`",
        )
