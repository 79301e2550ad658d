"""The plan of a cleanup as values: what is protected, and the verdict on each process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from drover.processes.cleanup.chrome_names import Role
from drover.processes.folders import FolderId
from drover.processes.session_mark import OwnerState
from drover.processes.table import ProcessRow


class CleanupScope(Enum):
    """Which processes a cleanup may end.

    Attributes:
        OWNED: Only processes that Drover started.
        ABANDONED: For automatic cleanups: a ChromeDriver without a session is an orphan only if the program
            that started it has ended.
        SYSTEM: For a requested cleanup: a ChromeDriver without a session is an orphan, whatever started it.
        EVERYTHING: For an emergency recovery: every Chrome and ChromeDriver on the machine.
    """

    OWNED = "owned"
    ABANDONED = "abandoned"
    SYSTEM = "system"
    EVERYTHING = "everything"


class Verdict(str, Enum):
    """The decision of a cleanup about a process; only an orphan is ended."""

    PROTECTED = "protected"
    ORPHAN = "orphan"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class ProtectedSession:
    """A session in the list: its folder and its known pids."""

    session_id: str
    folder: str
    pids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Protection:
    """What a cleanup must leave alone.

    Attributes:
        own_home: The data folder of this instance: a mark in it without a session in the list makes the
            process an orphan. None if it cannot be found; then `owners` decides for every data folder.
        owners: The state of the owning instance of each data folder that the table names.
    """

    sessions: tuple[ProtectedSession, ...]
    own_home: FolderId | None
    owners: Mapping[FolderId, OwnerState]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one process, with the reason as text for the operator."""

    row: ProcessRow
    role: Role
    verdict: Verdict
    reason: str
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """The verdicts on all Chrome-like processes, one for each, sorted by pid."""

    judgements: tuple[Judgement, ...]

    @property
    def orphans(self) -> tuple[Judgement, ...]:
        """The processes to be ended, without defunct ones."""
        return tuple(found for found in self._all_orphans if not found.row.is_zombie)

    @property
    def reapable(self) -> tuple[Judgement, ...]:
        """Defunct children of the service: to be reaped, not signalled."""
        return tuple(found for found in self._all_orphans if found.row.is_zombie)

    @property
    def _all_orphans(self) -> tuple[Judgement, ...]:
        return tuple(found for found in self.judgements if found.verdict is Verdict.ORPHAN)
