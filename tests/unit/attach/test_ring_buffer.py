from __future__ import annotations

from drover.attach.event_stream import RingBuffer


def numbers(ring: RingBuffer, since: int) -> list[object]:
    return [entry["number"] for entry in ring.since(since)[1]]


def test_entries_are_numbered_in_their_order() -> None:
    ring = RingBuffer(5)
    ring.add({"text": "one"})
    ring.add({"text": "two"})
    assert ring.since(0) == (2, [{"number": 1, "text": "one"}, {"number": 2, "text": "two"}])


def test_only_the_last_entries_are_kept() -> None:
    ring = RingBuffer(3)
    for _ in range(10):
        ring.add({})
    assert (ring.last, numbers(ring, 0)) == (10, [8, 9, 10])


def test_only_new_entries_are_returned() -> None:
    ring = RingBuffer(3)
    assert ring.since(0) == (0, [])
    for _ in range(4):
        ring.add({})
    assert numbers(ring, 3) == [4]
    assert numbers(ring, 4) == []
