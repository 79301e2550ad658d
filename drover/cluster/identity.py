"""Who this node is: its name and address for the others, and its data folder."""

from __future__ import annotations

import hashlib
import platform
import secrets
from pathlib import Path
from typing import Final

from drover.core.errors import StartRefused
from drover.core.settings import Settings
from drover.core.version import VERSION
from drover.net.access import is_loopback
from drover.storage.cluster_values import NodeIdentity

_MACHINE_ID: Final = Path("/etc/machine-id")
_FILE: Final = "node-id"


def identity_of(settings: Settings) -> NodeIdentity:
    """Return this node; call it while the data folder is locked.

    Raises:
        StartRefused: Other nodes could not reach it, or its data folder cannot be written.
    """
    return NodeIdentity(
        name_of(settings), _data_id(settings.data_dir), url_of(settings), VERSION, settings.max_sessions
    )


def name_of(settings: Settings) -> str:
    """Return the name of this node: the setting, or its host and port."""
    return settings.node_name or f"{platform.node()}:{settings.port}"


def url_of(settings: Settings) -> str:
    """Return the address at which other nodes reach this one.

    Raises:
        StartRefused: It is not set, and the service listens for more than this machine.
    """
    if settings.node_url is not None:
        return settings.node_url.rstrip("/")
    if is_loopback(settings.host):
        return f"http://127.0.0.1:{settings.port}"
    raise StartRefused(
        f"DROVER_NODE_URL is not set, and DROVER_HOST is {settings.host}: set it to the address at which the "
        f"other nodes reach this one, such as http://10.0.0.7:{settings.port}"
    )


def _data_id(data_dir: Path) -> str:
    """Return what tells this data folder from all others, also from a copy of it on another machine."""
    path = data_dir / _FILE
    try:
        if not path.exists():
            path.write_text(secrets.token_hex(16), encoding="ascii")
        own = path.read_text(encoding="ascii")
        machine = _MACHINE_ID.read_text(encoding="ascii") if _MACHINE_ID.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise StartRefused(f"{path} cannot be used ({error}): make the folder writable") from error
    return hashlib.sha256(f"{own}\n{machine}\n{platform.node()}".encode()).hexdigest()[:32]
