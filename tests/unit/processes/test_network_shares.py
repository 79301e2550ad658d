"""Detection of network shares from the mounts that the system reports."""

from __future__ import annotations

from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import psutil
import pytest

from drover.processes.host.network_shares import Mount, network_share, share_among

ROOT = Mount(PurePosixPath("/"), "ext4", "rw,relatime")


def posix(point: str, file_system: str) -> Mount:
    return Mount(PurePosixPath(point), file_system, "rw")


@pytest.mark.parametrize("file_system", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "smbfs", "afpfs"])
def test_a_share_is_recognised_by_its_file_system(file_system: str) -> None:
    mounts = [ROOT, posix("/home", file_system)]
    assert share_among(mounts, PurePosixPath("/home/me/.local/share/drover")) == file_system


@pytest.mark.parametrize(
    "file_system", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "apfs", "fuse.lxcfs", ""]
)
def test_a_disk_of_this_machine_is_none(file_system: str) -> None:
    assert share_among([ROOT, posix("/home", file_system)], PurePosixPath("/home/me")) is None


def test_the_nearest_mount_counts_and_of_two_at_one_place_the_later() -> None:
    mounts = [ROOT, posix("/home", "nfs4"), posix("/home/me/disk", "ext4"), posix("/homes", "cifs")]
    assert share_among(mounts, PurePosixPath("/home/me/disk/drover")) is None
    assert share_among(mounts, PurePosixPath("/home/you")) == "nfs4"
    assert share_among([*mounts, posix("/home", "ext4")], PurePosixPath("/home/you")) is None


@pytest.mark.parametrize(
    ("path", "options", "found"),
    [
        (r"Z:\drover", "rw,remote", "NTFS"),
        (r"Z:\drover", "rw,fixed", None),
        (r"\\server\share\drover", "", "a Windows share"),
    ],
)
def test_windows_shares_are_known_with_and_without_a_letter(
    path: str, options: str, found: str | None
) -> None:
    mounts = [Mount(PureWindowsPath("Z:\\"), "NTFS", options)]
    assert share_among(mounts, PureWindowsPath(path)) == found


def test_without_mounts_nothing_is_reported() -> None:
    assert share_among([], PurePath("/home")) is None


def test_unreadable_mounts_do_not_prevent_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, all: bool) -> object:  # noqa: A002 - psutil's own word
        raise PermissionError

    monkeypatch.setattr(psutil, "disk_partitions", refuse)
    assert network_share(Path("/")) is None


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="/proc is Linux's")
def test_the_kernels_virtual_file_systems_are_not_shares() -> None:
    assert network_share(Path("/proc")) is None
