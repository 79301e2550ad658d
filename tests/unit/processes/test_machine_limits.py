"""The service on a machine without IPv6, or with a small or missing /dev/shm."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from drover.core.errors import StartObstructed, StartRefused
from drover.net import listening
from drover.processes.host import memory

GIGABYTE = 1 << 30
Bind = Callable[[str, int], Any]


def binding(refused: dict[str, int]) -> Bind:
    """Return a replacement for `bound` that returns the address, or raises the given error for it."""

    def bind(address: str, port: int) -> Any:  # noqa: ANN401
        if address in refused:
            raise OSError(refused[address], os.strerror(refused[address]))
        return address

    return bind


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_both_loopback_addresses_are_listened_on(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(listening, "bound", binding({}))
    assert list(map(str, listening.listen(host, 5010))) == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_a_machine_without_ipv6_is_served_on_the_other_address(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(listening, "bound", binding({"::1": code}))
    assert list(map(str, listening.listen("127.0.0.1", 5010))) == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_on_either_address_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(listening, "bound", binding({address: errno.EADDRINUSE}))
    with pytest.raises(StartObstructed, match=rf"^DROVER_PORT is 5010: .* {address} port 5010 .*port$"):
        listening.listen("127.0.0.1", 5010)


def test_a_port_that_only_root_may_have_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "bound", binding({"127.0.0.1": errno.EACCES}))
    with pytest.raises(StartRefused, match=r"^DROVER_PORT is 80: ") as refusal:
        listening.listen("127.0.0.1", 80)
    assert not isinstance(refusal.value, StartObstructed)


def test_an_address_that_this_machine_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "bound", binding({"192.0.2.1": errno.EADDRNOTAVAIL}))
    with pytest.raises(
        StartObstructed, match=r"^DROVER_HOST is 192\.0\.2\.1: .* an address of this machine$"
    ):
        listening.listen("192.0.2.1", 5010)


@pytest.mark.parametrize(("code", "may_pass"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)])
def test_an_unknown_host_name_is_not_reported_as_a_port_problem(
    monkeypatch: pytest.MonkeyPatch, code: int, may_pass: bool
) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(code, "not known")

    monkeypatch.setattr(listening, "bound", unknown)
    with pytest.raises(StartRefused, match=r"^DROVER_HOST is drover\.example: ") as refusal:
        listening.listen("drover.example", 5010)
    assert isinstance(refusal.value, StartObstructed) is may_pass


@pytest.mark.parametrize(("size", "is_small"), [(64 << 20, True), (GIGABYTE - 1, True), (GIGABYTE, False)])
def test_shared_memory_is_small_as_in_a_container(
    monkeypatch: pytest.MonkeyPatch, size: int, is_small: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=size))
    assert memory.is_shared_memory_small() is is_small


def test_shared_memory_that_is_not_there_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory, "SHARED_MEMORY", "/nowhere/shm")
    assert memory.is_shared_memory_small() is True


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_have_no_such_folder(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(memory, "SHARED_MEMORY", "/nowhere/shm")
    assert memory.is_shared_memory_small() is False


def test_on_macos_memory_is_the_resident_size_since_only_root_may_read_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def denied(_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(memory.sys, "platform", "darwin")  # type: ignore[attr-defined]
    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    assert memory.memory_held_mb([os.getpid()]) > 0
