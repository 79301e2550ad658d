"""Events of the data folder and the session database."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from drover.core.events.event import Event


@dataclass(frozen=True)
class DataFolderOnShare(Event):
    """The data folder is on a network share, where locks and sockets may not work."""

    level = logging.WARNING
    text = (
        "The data folder {data_dir} is on a network share ({file_system}), where browsers are slow and "
        "locks and sockets may fail; set DROVER_DATA_DIR to a folder on a local disk"
    )
    data_dir: str
    file_system: str


@dataclass(frozen=True)
class StoreSetAside(Event):
    """The session database could not be used and was renamed; the service starts with a new one."""

    level = logging.WARNING
    text = "The session database was not usable ({reason}) and was renamed to {path}; a new one was created"
    timeline_kind = "trouble"
    path: str
    reason: str


@dataclass(frozen=True)
class StoreFailed(Event):
    """The session database could not be written or read."""

    level = logging.ERROR
    text = "Session storage failed: {error}"
    timeline_kind = "trouble"
    error: str


@dataclass(frozen=True)
class DataFolderPutBack(Event):
    """A part of the data folder that was removed or replaced while the service ran was put back."""

    level = logging.WARNING
    text = "{part} was removed while the service ran, and was put back: exclude it from programs that tidy up"
    timeline_kind = "trouble"
    part: str
