"""The data folder while the service runs: what was removed is put back.

Programs that tidy temporary folders remove what a running service has open. Then nothing fails, but the lock
keeps no other instance out, and nothing that is written outlives the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.core import events
from drover.core.errors import DataDirInUse, StartRefused, StorageUnavailable
from drover.core.events import Emit


@dataclass(eq=False, repr=False)
class DataFolder:
    """Checks the data folder of a running service.

    Args:
        parts: Its parts, each after those that it lies in: the name for the log, and a function that puts the
            part back if it was removed or replaced, and returns whether it was. The function raises OSError,
            StartRefused or StorageUnavailable if that is not possible, DataDirInUse if another instance has
            the part.
        hold: Called with the reason why nothing may be written or promised, or with None if there is none.
    """

    _parts: Mapping[str, Callable[[], bool]]
    _hold: Callable[[str | None], object]
    _emit: Emit
    is_lost: bool = field(default=False, init=False)
    """Whether another instance has taken it; its sessions belong to that one then."""

    def check(self) -> None:
        """Put back what was removed; if that is not possible, let nothing be promised until it is."""
        if not self.is_lost:
            self._hold(self._put_back())

    def _put_back(self) -> str | None:
        """Put back all parts; return why that is not possible, or None."""
        for name, put_back in self._parts.items():
            try:
                if put_back():
                    self._emit(events.DataFolderPutBack(name))
            except DataDirInUse as error:
                self.is_lost = True
                return f"{name} was removed while the service ran, and {error}"
            except (OSError, StartRefused, StorageUnavailable) as error:
                return f"{name} was removed or replaced and cannot be put back: {error}"
        return None
