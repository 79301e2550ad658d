"""Detection of network shares: folders that are not on a local disk."""

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
    """A mounted file system; `options` is the comma-separated text that the system reports."""

    point: PurePath
    file_system: str
    options: str = ""


def network_share(path: Path) -> str | None:
    """Return the type of the network file system that a folder is on, or None for a local disk."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        # Without the list of mounts there is nothing to warn about.
        return None
    return share_among([Mount(Path(one.mountpoint), one.fstype, one.opts) for one in mounts], path.resolve())


def share_among(mounts: Iterable[Mount], path: PurePath) -> str | None:
    """Return the type of the network file system that a path is on, or None.

    Args:
        mounts: All mounts; of two at the same place, the later one hides the earlier.
        path: An absolute path without links.
    """
    if path.drive.startswith("\\\\"):
        return "a Windows share"
    containing = [mount for mount in mounts if path.is_relative_to(mount.point)]
    if not containing:
        return None
    depth = max(len(mount.point.parts) for mount in containing)
    nearest = [mount for mount in containing if len(mount.point.parts) == depth][-1]
    return (nearest.file_system or "remote") if _is_remote(nearest) else None


def _is_remote(mount: Mount) -> bool:
    kind, _, fuse_kind = mount.file_system.lower().partition(".")
    # psutil reports `remote` for a drive letter that Windows has mapped to a share.
    return kind in _NETWORK or (kind == "fuse" and fuse_kind in _FUSE) or "remote" in mount.options.split(",")
