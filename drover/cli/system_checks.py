"""Read the set-up for `doctor`; nothing is changed."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from drover.browser.binaries import (
    find_chrome,
    find_chromedriver,
    snap_notice,
)
from drover.browser.capabilities.switches import check_chrome_args
from drover.browser.versions import chrome_version, printed_version
from drover.cli.doctor import DataFolder, PortHolder, ProgramReading, Sandbox, SystemReadings
from drover.core.errors import DroverError, StartRefused
from drover.core.settings import Settings
from drover.net import access
from drover.processes.host.network_shares import network_share
from drover.processes.host.permissions import (
    chromes_of_others,
    may_end_processes_of_others,
    orphans_are_reaped,
    people_beside,
    sees_processes_of_others,
)
from drover.processes.session_mark import OwnerState
from drover.storage.instance_lock import read_owner
from drover.storage.room import read_room, shortage
from drover.storage.session_folders import SessionFolders

_ANSWER_S = 3.0
_TRIAL_S = 10.0
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only its size is read
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
# CLONE_NEWUSER, then CLONE_NEWPID, which needs the capabilities that the new user namespace grants.
_MAKE_NAMESPACE = """
import ctypes, sys
unshare = ctypes.CDLL(None).unshare
sys.exit(unshare(0x10000000) or unshare(0x20000000))
"""


def read_set_up(settings: Settings) -> SystemReadings:
    """Return everything that `doctor.judge` needs; takes about two seconds."""
    chrome = _found(find_chrome, settings.chrome_binary)
    driver = _found(find_chromedriver, settings.chromedriver)
    if chrome.path is not None:
        chrome = replace(chrome, version=chrome_version(chrome.path))
    if driver.path is not None:
        driver = replace(driver, version=printed_version(driver.path))
    return SystemReadings(
        system=sys.platform,
        refusal=_refusal(settings),
        chrome=chrome,
        driver=driver,
        snap_notice=snap_notice(),
        sandbox=_sandbox(chrome.path),
        shared_memory=_shared_memory(),
        data_folder=_data_folder(settings.data_dir),
        port=settings.port,
        port_holder=_port_holder(settings),
        sees_others=sees_processes_of_others(),
        ends_others=may_end_processes_of_others(),
        chromes_of_others=chromes_of_others(),
        orphans_reaped=orphans_are_reaped(),
        people=people_beside(),
        store_python=sys.platform == "win32" and "\\WindowsApps\\" in sys.base_prefix + "\\",
    )


def _refusal(settings: Settings) -> str | None:
    try:
        check_chrome_args(settings.chrome_args)
        access.check_bind(settings.host, settings.token)
        access.access_policy(settings.host, settings.port, settings.own_hosts, settings.token)
    except DroverError as error:
        return error.message
    return None


def _found(find: Callable[[str | None], Path | None], setting: str | None) -> ProgramReading:
    try:
        return ProgramReading(find(setting))
    except StartRefused as refusal:
        return ProgramReading(None, refusal=refusal.message)


def _sandbox(chrome: Path | None) -> Sandbox:
    if sys.platform != "linux":
        return Sandbox(as_root=False, namespaces=None, helper=False, apparmor=False)
    return Sandbox(
        as_root=os.geteuid() == 0,
        namespaces=_namespaces_work(),
        helper=chrome is not None and _is_setuid_of_root(chrome.parent / "chrome-sandbox"),
        apparmor=_is_set(_APPARMOR),
    )


def _namespaces_work() -> bool:
    command = [sys.executable, "-ISc", _MAKE_NAMESPACE]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_TRIAL_S).returncode == 0  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired):
        return False


def _is_setuid_of_root(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_uid == 0 and bool(found.st_mode & stat.S_ISUID)


def _is_set(switch: Path) -> bool:
    with suppress(OSError, ValueError):
        return int(switch.read_text(encoding="ascii")) != 0
    return False


def _shared_memory() -> int | None:
    if sys.platform != "linux" or not Path(_SHARED_MEMORY).is_dir():
        return None
    space = os.statvfs(_SHARED_MEMORY)
    return space.f_frsize * space.f_blocks


def _data_folder(path: Path) -> DataFolder:
    refusal = None
    try:
        SessionFolders(path).check_path()
    except StartRefused as error:
        refusal = error.message
    # The service creates the folder with its parents when it starts, so the nearest existing one is checked.
    # Path.exists() raises below a folder without search permission, and for a name that is too long.
    there = next(one for one in (path, *path.parents) if os.path.exists(one))  # noqa: PTH110
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return DataFolder(path, refusal, writable, network_share(there), shortage(read_room(there), there))


def _port_holder(settings: Settings) -> PortHolder:
    loopback = access.is_loopback(settings.host)
    for address in ("127.0.0.1", "::1") if loopback else (settings.host,):
        error = _bind_error(address, settings.port)
        if error == errno.EADDRINUSE:
            return _who_listens(settings)
        if error is not None and not (address == "::1" and error == errno.EADDRNOTAVAIL):
            return PortHolder.FORBIDDEN
    return PortHolder.NONE


def _bind_error(address: str, port: int) -> int | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
    except OSError as error:
        # A kernel without IPv6 does not know the address family.
        return errno.EADDRNOTAVAIL if error.errno == errno.EAFNOSUPPORT else error.errno
    return None


def _who_listens(settings: Settings) -> PortHolder:
    if not _is_drover(settings.host, settings.port):
        return PortHolder.ANOTHER_PROGRAM
    ours = read_owner(str(settings.data_dir), settings.adopt_grace) is OwnerState.LIVING
    return PortHolder.OURS if ours else PortHolder.ANOTHER_DROVER


def _is_drover(host: str, port: int) -> bool:
    """Return whether Drover answers `GET /health`, which needs no token; it may be unhealthy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{access.reachable_host(host)}:{port}/health"
    try:
        with direct.open(url, timeout=_ANSWER_S) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        with error, suppress(OSError, ValueError):
            return _says_drover(json.load(error))
        return False
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return _says_drover(answer)


def _says_drover(answer: object) -> bool:
    return isinstance(answer, dict) and answer.get("service") == "drover"
