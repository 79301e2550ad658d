"""Room for new sessions on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.storage.room import Room, RoomWatch, read_room, shortage

MB = 1_000_000
GB = 1000 * MB
DATA = Path("/data")


@pytest.mark.parametrize(
    "room",
    [
        Room(total=1 * GB, free=200 * MB),
        Room(total=100 * GB, free=5 * GB),
        Room(total=1 * GB, free=900 * MB, files=250),
        Room(total=1 * GB, free=900 * MB, files=None),
    ],
)
def test_a_session_may_start_if_there_is_room(room: Room) -> None:
    assert shortage(room, DATA) is None


@pytest.mark.parametrize(
    ("room", "found"),
    [
        (Room(total=1 * GB, free=199 * MB), "only 199 MB (19.9 %) free on /data"),
        (Room(total=150 * MB, free=150 * MB), "only 150 MB (100.0 %) free on /data"),
        (Room(total=100 * GB, free=4900 * MB), "only 4900 MB (4.9 %) free on /data"),
        (Room(total=100 * GB, free=0), "only 0 MB (0.0 %) free on /data"),
        (Room(total=0, free=0), "only 0 MB (0.0 %) free on /data"),
        (Room(total=1 * GB, free=900 * MB, files=0), "only 0 inodes left for files on /data"),
        (Room(total=1 * GB, free=0, files=249), "only 249 inodes left for files on /data"),
    ],
)
def test_a_shortage_names_what_is_left_and_what_to_do(room: Room, found: str) -> None:
    message = shortage(room, DATA)
    assert message is not None
    assert found in message.replace("\\", "/")
    assert message.startswith("Disk full: ")
    assert message.endswith(("Free some space", "Remove some files"))


def test_the_room_of_a_real_disk_is_read(tmp_path: Path) -> None:
    room = read_room(tmp_path)
    assert room is not None
    assert 0 < room.free <= room.total
    assert read_room(tmp_path / "missing") is None


def test_a_shortage_is_known_until_there_is_room_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = [Room(GB, 0), Room(GB, GB)]
    monkeypatch.setattr("drover.storage.room.read_room", lambda _: left.pop(0))
    watch = RoomWatch(tmp_path)
    assert watch.shortage is None
    watch.read()
    assert watch.shortage is not None
    watch.read()
    assert watch.shortage is None
