"""The total of a browser's downloads, as Chrome's progress events tell it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drover.browser.downloads import BLOCK, MAX_PATHS, DownloadTotal

STATES = ("inProgress", "completed", "canceled")


def progress(guid: str, received: int, state: str = "inProgress", path: str = "") -> dict[str, object]:
    """Return a `Browser.downloadProgress` event."""
    event: dict[str, object] = {"guid": guid, "totalBytes": 0, "receivedBytes": received, "state": state}
    return event | ({"filePath": path} if path else {})


def total(*events: dict[str, object]) -> DownloadTotal:
    """Return the total after these events."""
    downloads = DownloadTotal()
    for event in events:
        downloads.add(event)
    return downloads


def test_downloads_in_progress_count_with_what_was_received_last() -> None:
    downloads = total(progress("a", 10_000), progress("b", 50_000), progress("a", 70_000))
    assert downloads.size == 120_000
    assert set(downloads.running) == {"a", "b"}


def test_a_complete_download_counts_until_its_file_is_removed() -> None:
    downloads = total(progress("a", 10_000), progress("a", 20_000, "completed", "/d/a"))
    assert (downloads.size, downloads.running, downloads.paths) == (20_000, (), ("/d/a",))
    downloads.forget("/d/a")
    assert downloads.size == 0


def test_a_cancelled_download_does_not_count() -> None:
    assert total(progress("a", 90_000), progress("a", 90_000, "canceled")).size == 0


def test_a_complete_download_without_a_path_counts() -> None:
    assert total(progress("a", 9_000, "completed")).size == 9_000


def test_even_an_empty_file_counts_a_block() -> None:
    assert (
        total(*(progress(str(number), 0, "completed", f"/d/{number}") for number in range(3))).size
        == 3 * BLOCK
    )


def test_only_the_latest_files_are_remembered_by_name_but_all_count() -> None:
    downloads = total(*(progress(str(n), BLOCK, "completed", f"/d/{n}") for n in range(MAX_PATHS + 5)))
    assert len(downloads.paths) == MAX_PATHS
    assert downloads.paths[-1] == f"/d/{MAX_PATHS + 4}"
    assert downloads.size == BLOCK * (MAX_PATHS + 5)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**6), st.sampled_from(STATES))))
def test_the_total_is_never_below_what_is_in_progress(events: list[tuple[str, int, str]]) -> None:
    last: dict[str, tuple[int, str]] = {}
    downloads = DownloadTotal()
    for guid, received, state in events:
        downloads.add(progress(guid, received, state))
        last[guid] = received, state
    running = {guid: received for guid, (received, state) in last.items() if state == "inProgress"}
    assert set(downloads.running) == set(running)
    assert downloads.size >= sum(running.values())
