"""Network shares: folders that are not on a disk of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import psutil

_NETWORK: Final = frozenset(
    {"9p", "afpfs", "afs", "ceph", "cifs", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"prl_fs", "smb3", "smbfs", "vboxsf", "webdav"}
)
_FUSE: Final = frozenset({"ceph", "davfs2", "gcsfuse", "glusterfs", "rclone", "s3fs", "sshfs", "vmhgfs-fuse"})


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system; `options` as the system tells them, separated by commas."""

    point: PurePath
    file_system: str
    options: str = ""


def network_share(path: Path) -> str | None:
    """Give the kind of the network file system that a folder lies on, or None for a disk of this machine."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        # Of what the system does not tell nobody is warned.
        return None
    return share_among([Mount(Path(one.mountpoint), one.fstype, one.opts) for one in mounts], path.resolve())


def share_among(mounts: Iterable[Mount], path: PurePath) -> str | None:
    """Give the kind of the network file system that a path lies on, or None.

    Args:
        mounts: All that are mounted; of two at one place the later one hides the earlier.
        path: Absolute and without links.
    """
    if path.drive.startswith("\\\\"):
        return "a Windows share"
    around = [mount for mount in mounts if path.is_relative_to(mount.point)]
    if not around:
        return None
    depth = max(len(mount.point.parts) for mount in around)
    nearest = [mount for mount in around if len(mount.point.parts) == depth][-1]
    return (nearest.file_system or "remote") if _is_remote(nearest) else None


def _is_remote(mount: Mount) -> bool:
    kind, _, behind = mount.file_system.lower().partition(".")
    # psutil says `remote` of a drive letter that Windows has connected to a share.
    return kind in _NETWORK or (kind == "fuse" and behind in _FUSE) or "remote" in mount.options.split(",")
