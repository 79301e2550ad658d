from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest

from drover.core import events
from drover.core.errors import DataDirInUse, StartRefused, StorageUnavailable
from drover.storage.data_folder import DataFolder
from tests.unit.examples import EventRecorder


class Folder:
    """A data folder whose parts do what a test says, and what was held."""

    def __init__(self) -> None:
        self.recorder = EventRecorder()
        self.held: list[str | None] = []
        self.answers: dict[str, Callable[[], bool]] = {}
        self.folder = DataFolder(
            {name: partial(self._answer, name) for name in ("The lock", "The database")},
            self.held.append,
            self.recorder,
        )

    def _answer(self, name: str) -> bool:
        return self.answers.get(name, lambda: False)()

    def fail(self, name: str, error: Exception) -> None:
        def raise_it() -> bool:
            raise error

        self.answers[name] = raise_it


def test_a_whole_folder_holds_nothing_and_says_nothing() -> None:
    whole = Folder()
    whole.folder.check()
    assert whole.held == [None]
    assert whole.recorder.events == []


def test_what_was_put_back_is_said() -> None:
    damaged = Folder()
    damaged.answers["The database"] = lambda: True
    damaged.folder.check()
    assert damaged.held == [None]
    assert damaged.recorder.events == [events.DataFolderPutBack("The database")]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system"),
        StartRefused("Read-only file system"),
        StorageUnavailable("Read-only file system"),
    ],
)
def test_what_cannot_be_put_back_holds_all_promises_until_it_can(error: Exception) -> None:
    damaged = Folder()
    damaged.fail("The lock", error)
    damaged.folder.check()
    (reason,) = damaged.held
    assert reason is not None
    assert reason.startswith("The lock was removed or replaced and cannot be put back")
    assert "Read-only file system" in reason
    assert not damaged.folder.is_lost
    damaged.answers["The lock"] = lambda: True
    damaged.folder.check()
    assert damaged.held == [reason, None]


def test_a_folder_that_another_instance_has_taken_stays_lost() -> None:
    taken = Folder()
    taken.fail("The lock", DataDirInUse("another instance of Drover uses /data"))
    taken.folder.check()
    taken.answers.clear()
    taken.folder.check()
    assert taken.folder.is_lost
    (reason,) = taken.held
    assert reason is not None
    assert "another instance of Drover uses /data" in reason
