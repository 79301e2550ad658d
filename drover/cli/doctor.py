"""Is this machine set up for Drover? What was read of it is judged here, by pure functions.

A problem stops the service or makes it useless; a warning is something that it lives with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from drover.browser.binaries import mismatch
from drover.processes.host.memory import ENOUGH_SHARED_MEMORY

MB = 1_000_000
_INSTALL = "on Debian run `apt-get install chromium chromium-driver`, elsewhere install Google Chrome"


class Status(str, Enum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class PortHolder(Enum):
    """Who listens on the port that we are to listen on."""

    NOBODY = "nobody"
    OURS = "the running instance of this data folder"
    ANOTHER_DROVER = "an instance of Drover with another data folder"
    A_STRANGER = "another program"
    FORBIDDEN = "the system"


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one thing, and what to do about it where something is to be done."""

    name: str
    status: Status
    found: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class ProgramReading:
    """A program of a session: where it is, its version, or why its setting is refused."""

    path: Path | None
    version: str = ""
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What Chrome's sandbox needs of the system.

    Attributes:
        as_root: We are root, so Chrome runs without one.
        namespaces: A user namespace can be made and used; None where the system is not Linux.
        helper: Chrome's own helper, which is root's and setuid, stands beside it.
        apparmor: AppArmor restricts user namespaces, but for programs that have a profile.
    """

    as_root: bool
    namespaces: bool | None
    helper: bool
    apparmor: bool


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder, which need not exist yet.

    Attributes:
        refusal: Why its path will not do.
        share: The kind of the network share that it is on; None on a disk of this machine.
        full: Its disk is full, and what to do.
    """

    path: Path
    refusal: str | None
    writable: bool
    share: str | None
    full: str | None


@dataclass(frozen=True, slots=True)
class SystemReadings:
    """All that was read of the set-up.

    Attributes:
        system: As in `sys.platform`.
        refusal: Why the settings do not fit together.
        snap_notice: The line on a Chromium from snap that was passed over.
        shared_memory: The size of `/dev/shm` in bytes; None where there is none.
        sees_others: Other users' processes can be seen.
        ends_others: They could be ended.
        chromes_of_others: How many Chrome processes other users run.
        orphans_reaped: Who takes orphans in reaps them; None where that could not be tried.
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


def judge(readings: SystemReadings) -> tuple[Check, ...]:
    """Give a check for everything that was read."""
    return (
        _settings(readings),
        _program("chrome", readings.chrome, readings.snap_notice, readings.system),
        _program("chromedriver", readings.driver, None, readings.system),
        *_versions(readings.chrome, readings.driver),
        _sandbox(readings.sandbox),
        *_shared_memory(readings.shared_memory),
        _data_folder(readings.data_folder),
        _port(readings.port, readings.port_holder),
        _permissions(readings),
        *_init(readings.orphans_reaped),
    )


def worst(checks: Iterable[Check]) -> Status:
    """Give how it stands with everything together."""
    found = {check.status for check in checks}
    return next((one for one in (Status.PROBLEM, Status.WARNING) if one in found), Status.OK)


def _settings(readings: SystemReadings) -> Check:
    if readings.refusal is None:
        return Check("settings", Status.OK, "they fit together")
    return Check("settings", Status.PROBLEM, "the service refuses to start with them", readings.refusal)


def _program(name: str, program: ProgramReading, snap_notice: str | None, system: str) -> Check:
    if program.refusal is not None:
        return Check(name, Status.PROBLEM, "its setting is refused", program.refusal)
    if program.path is None:
        found = "not found here; Selenium Manager fetches it at the first start, which needs the internet"
        return Check(name, Status.WARNING, found, snap_notice or _INSTALL)
    if not program.version and (name == "chromedriver" or system != "win32"):
        advice = f"start `{program.path} --version` by hand to see why"
        return Check(name, Status.PROBLEM, f"{program.path} does not tell its version", advice)
    return Check(name, Status.OK, f"{program.path} {program.version}".strip())


def _versions(chrome: ProgramReading, driver: ProgramReading) -> Iterator[Check]:
    if chrome.path is None or driver.path is None:
        return
    advice = mismatch(chrome.version, driver.version)
    if advice is None:
        yield Check("versions", Status.OK, "Chrome and ChromeDriver fit together")
    else:
        yield Check("versions", Status.PROBLEM, "Chrome and ChromeDriver do not fit together", advice)


def _sandbox(sandbox: Sandbox) -> Check:
    if sandbox.namespaces is None:
        return Check("sandbox", Status.OK, "the system's own")
    if sandbox.as_root:
        found = "we are root, so Chrome runs without its sandbox"
        return Check("sandbox", Status.WARNING, found, "run Drover as a normal user")
    if sandbox.helper:
        return Check("sandbox", Status.OK, "Chrome's setuid helper is there")
    if sandbox.namespaces:
        return Check("sandbox", Status.OK, "user namespaces can be used")
    if sandbox.apparmor:
        return Check(
            "sandbox",
            Status.WARNING,
            "AppArmor keeps programs without a profile from user namespaces",
            "Chrome from a package has a profile; for another one, add a profile with `userns` for it",
        )
    return Check(
        "sandbox",
        Status.PROBLEM,
        "no user namespace can be made, so Chrome cannot start its sandbox",
        "run `sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`; in a container "
        "allow them in the seccomp profile, as Chrome's own profile for Docker does",
    )


def _shared_memory(size: int | None) -> Iterator[Check]:
    if size is None:
        return
    if size >= ENOUGH_SHARED_MEMORY:
        yield Check("shared memory", Status.OK, f"it has {size // MB} MB")
        return
    yield Check(
        "shared memory",
        Status.WARNING,
        f"it has {size // MB} MB only, so Chrome uses files instead, which is slower",
        "give its file system (shm) more room: in Docker start the container with `--shm-size=1g`",
    )


def _data_folder(folder: DataFolder) -> Check:
    if folder.refusal is not None:
        return Check("data folder", Status.PROBLEM, f"{folder.path} will not do", folder.refusal)
    if not folder.writable:
        advice = "give this user the right to write there, or set DROVER_DATA_DIR to another folder"
        return Check("data folder", Status.PROBLEM, f"{folder.path} cannot be written to", advice)
    if folder.full is not None:
        return Check("data folder", Status.PROBLEM, f"{folder.path} has no room", folder.full)
    if folder.share is not None:
        found = f"{folder.path} is on a network share ({folder.share}): browsers are slow there"
        return Check("data folder", Status.WARNING, found, "set DROVER_DATA_DIR to a folder on a local disk")
    return Check("data folder", Status.OK, str(folder.path))


def _port(port: int, holder: PortHolder) -> Check:
    if holder is PortHolder.NOBODY:
        return Check("port", Status.OK, f"{port} is free")
    if holder is PortHolder.OURS:
        return Check("port", Status.OK, f"{port} is held by {holder.value}")
    if holder is PortHolder.FORBIDDEN:
        found = f"{port} may not be listened on"
        return Check(
            "port", Status.PROBLEM, found, "set DROVER_PORT to one above 1023, and DROVER_HOST right"
        )
    found = f"{port} is held by {holder.value}"
    return Check("port", Status.PROBLEM, found, "stop that, or set DROVER_PORT to another port")


def _permissions(readings: SystemReadings) -> Check:
    if not readings.sees_others:
        return Check(
            "permissions",
            Status.WARNING,
            "other users' processes cannot be seen, so GET /processes leaves them out",
            "mount /proc without `hidepid`, or with its `gid` set to a group of this user",
        )
    if readings.ends_others:
        return Check("permissions", Status.OK, "all users' processes can be seen and ended")
    if readings.chromes_of_others:
        return Check(
            "permissions",
            Status.WARNING,
            f"{readings.chromes_of_others} Chrome processes of other users run, which an emergency recovery "
            "cannot end",
            "end them as those users or as root; cleanups never touch them",
        )
    return Check("permissions", Status.OK, "all processes can be seen, and this user's own can be ended")


def _init(orphans_reaped: bool | None) -> Iterator[Check]:
    if orphans_reaped is True:
        yield Check("init", Status.OK, "processes that lose their parent are reaped when they end")
    elif orphans_reaped is False:
        yield Check(
            "init",
            Status.WARNING,
            "nobody reaps processes that lose their parent, so defunct ones pile up",
            "start the container with an init: `docker run --init`, in Compose `init: true`",
        )
