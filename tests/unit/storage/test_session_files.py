"""The files of a session: in its folder, with plain names and size limits."""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import os
import sys
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

import pytest

from drover.core.errors import DroverError, InvalidRequest, RequestTooLarge, StorageUnavailable
from drover.storage import session_files
from drover.storage.session_files import (
    delete_downloads,
    downloads,
    is_complete,
    name_problem,
    read_download,
    store_file,
    store_upload,
)
from drover.storage.session_folders import SessionFolder


@pytest.fixture
def session(folder: Path) -> SessionFolder:
    made = SessionFolder(folder / "s" / "abcdefgh")
    made.downloads.mkdir(parents=True)
    return made


def packed(*entries: tuple[str, bytes]) -> str:
    """Return a base64-encoded zip archive with line breaks, as Selenium's Python client sends it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in entries:
            writer.writestr(name, content)
    return base64.encodebytes(archive.getvalue()).decode()


def test_an_upload_lies_in_the_sessions_folder_under_its_own_name(session: SessionFolder) -> None:
    first = store_upload(session, packed(("letter.txt", b"hello")))
    second = store_upload(session, packed(("letter.txt", b"again")))
    assert (first.name, first.read_bytes(), second.read_bytes()) == ("letter.txt", b"hello", b"again")
    assert session.uploads in first.parents
    assert first != second


@pytest.mark.parametrize(
    "name",
    ["../letter.txt", "/etc/passwd", "a/b.txt", "a\\b.txt", "..", ".", "a\x1bb", "a\nb", "a\x85b", "x" * 256],
)
def test_a_name_that_could_leave_the_folder_is_refused(session: SessionFolder, name: str) -> None:
    with pytest.raises(InvalidRequest, match="plain file name"):
        store_upload(session, packed((name, b"x")))
    with pytest.raises(InvalidRequest):
        read_download(session, name)
    assert not session.uploads.exists()


PEOPLES_NAMES = [
    "Screenshot 2024-05-01 at 3.45.12\u202fPM.png",
    "no\u00a0break.txt",
    "\u200f\u05d3\u05d5\u05d7.pdf",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467.png",
    "soft\u00adhyphen.txt",
    "...",
    " leading and trailing ",
    "x" * 251 + ".txt",
]


@pytest.mark.parametrize("name", PEOPLES_NAMES)
def test_names_that_people_have_are_stored_and_returned(session: SessionFolder, name: str) -> None:
    assert name_problem(name, windows=False) is None
    if name_problem(name, windows=sys.platform == "win32") is not None:
        pytest.skip("this system cannot store it")
    assert store_upload(session, packed((name, b"x"))).name == name
    (session.downloads / name).write_bytes(b"12345")
    assert [one.name for one in downloads(session)] == [name]
    with zipfile.ZipFile(io.BytesIO(read_download(session, name))) as archive:
        assert archive.read(name) == b"12345"


@pytest.mark.parametrize(
    "name", ["NUL", "con", "aux.txt", "COM1", "lpt9.log", "10:30 report.txt", "a.", "a ", 'a"']
)
def test_names_that_windows_reserves_are_refused_there_only(name: str) -> None:
    assert name_problem(name, windows=True) is not None
    assert name_problem(name, windows=False) is None


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_data_of_every_compression_is_refused(session: SessionFolder, method: int) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as writer:
        writer.writestr("a.bin", bytes(range(256)) * 40)
    for place in range(36, 80):
        damaged = bytearray(archive.getvalue())
        damaged[place] ^= 0xFF
        with contextlib.suppress(InvalidRequest):
            store_upload(session, base64.b64encode(damaged).decode())


def test_a_file_that_cannot_be_written_is_reported_with_the_reason_and_leaves_nothing(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _mode: str) -> IO[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageUnavailable, match="No space left on device"):
        store_upload(session, packed(("letter.txt", b"hello")))
    assert list(session.uploads.iterdir()) == []


@pytest.mark.parametrize("content", ["", "no base64 \u00fc", base64.b64encode(b"no zip").decode(), "===="])
def test_a_file_that_is_not_an_archive_is_refused(session: SessionFolder, content: str) -> None:
    with pytest.raises(InvalidRequest, match="zip archive"):
        store_upload(session, content)


@pytest.mark.parametrize("entries", [(), (("a", b""), ("b", b""))])
def test_an_archive_holds_exactly_one_file(
    session: SessionFolder, entries: tuple[tuple[str, bytes], ...]
) -> None:
    with pytest.raises(InvalidRequest, match="one file"):
        store_upload(session, packed(*entries))


def test_a_damaged_archive_is_refused(session: SessionFolder) -> None:
    whole = bytearray(base64.b64decode(packed(("letter.txt", b"hello" * 100))))
    whole[40] ^= 0xFF
    with pytest.raises(InvalidRequest, match="zip archive"):
        store_upload(session, base64.b64encode(whole).decode())


def test_a_file_that_exceeds_the_limit_when_unpacked_is_refused(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(RequestTooLarge):
        store_upload(session, packed(("bomb.txt", bytes(100_000))))
    assert not session.uploads.exists()


def test_an_archive_that_understates_the_size_of_its_file_is_refused(session: SessionFolder) -> None:
    whole = bytearray(base64.b64decode(packed(("bomb.txt", bytes(100_000)))))
    directory = whole.index(b"PK\x01\x02")
    whole[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    with pytest.raises(InvalidRequest, match="zip archive"):
        store_upload(session, base64.b64encode(whole).decode())
    assert list(session.uploads.iterdir()) == []


def test_all_uploads_together_are_bounded(session: SessionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_files, "MAX_UPLOADS_BYTES", 1000)
    store_upload(session, packed(("one.txt", bytes(600))))
    with pytest.raises(RequestTooLarge):
        store_upload(session, packed(("two.txt", bytes(600))))


def test_an_upload_for_a_session_that_has_ended_leaves_no_folder(session: SessionFolder) -> None:
    session.downloads.rmdir()
    session.path.rmdir()
    with pytest.raises(StorageUnavailable):
        store_upload(session, packed(("letter.txt", b"hello")))
    assert not session.path.exists()


def test_an_upload_counts_for_the_limit_while_it_is_written(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_files, "MAX_UPLOADS_BYTES", 1000)
    beside: list[str] = []
    read = session_files._read

    def read_beside_others(source: IO[bytes]) -> bytes:
        with pytest.raises(RequestTooLarge):
            store_file(session, "b", bytes(600))
        with pytest.raises(RequestTooLarge):
            store_upload(session, second)
        beside.append("refused")
        return read(source)

    second = packed(("two.txt", bytes(600)))
    monkeypatch.setattr(session_files, "_read", read_beside_others)
    first = store_upload(session, packed(("one.txt", bytes(600))))
    assert first.read_bytes() == bytes(600)
    assert beside
    assert [path.name for path in session.uploads.rglob("*.txt")] == ["one.txt"]


def test_an_upload_whose_size_is_overstated_ends_where_its_content_ends(session: SessionFolder) -> None:
    whole = bytearray(base64.b64decode(packed(("letter.txt", b"hello"))))
    directory = whole.index(b"PK\x01\x02")
    whole[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")
    assert store_upload(session, base64.b64encode(whole).decode()).read_bytes() == b"hello"


def test_uploads_that_go_while_all_are_measured_count_nothing(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store_upload(session, packed(("one.txt", b"1")))
    scan = os.scandir

    def scan_after_the_end(path: str) -> object:
        if path == str(one.parent):
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_after_the_end)
    assert store_file(session, "two.txt", b"2").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("name", "on_posix", "on_windows"),
    [
        ("letter.txt", True, True),
        ("...", True, True),
        (".profile", True, True),
        ("letter.txt.crdownload", False, False),
        (".org.chromium.Chromium.aB3dE6", False, True),
        (".com.google.chrome.for.testing.x0Y9z8", False, True),
        ("3F2504E0-4f89-41d3-9a0c-0305e82c3301.tmp", True, False),
        ("3f2504e0-4f89-41d3-9a0c-0305e82c3301.tmp.txt", True, True),
        ("letter.tmp", True, True),
    ],
)
def test_a_download_that_has_no_name_yet_is_not_complete(name: str, on_posix: bool, on_windows: bool) -> None:
    assert (is_complete(name, windows=False), is_complete(name, windows=True)) == (on_posix, on_windows)


def test_only_completed_regular_files_are_listed_as_downloads(session: SessionFolder, folder: Path) -> None:
    (session.downloads / "b.txt").write_bytes(b"12345")
    (session.downloads / "a.txt").write_bytes(b"1")
    (session.downloads / "c.txt.crdownload").write_bytes(b"")
    (session.downloads / "folder").mkdir()
    secret = folder / "secret"
    secret.write_bytes(b"secret")
    (session.downloads / "link.txt").symlink_to(secret)
    assert [(one.name, one.size) for one in downloads(session)] == [("a.txt", 1), ("b.txt", 5)]
    with pytest.raises(InvalidRequest, match="no download"):
        read_download(session, "link.txt")


def test_a_download_is_returned_as_an_archive_with_one_file(session: SessionFolder) -> None:
    (session.downloads / "b.txt").write_bytes(b"12345")
    with zipfile.ZipFile(io.BytesIO(read_download(session, "b.txt"))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"b.txt": b"12345"}


@pytest.mark.parametrize("year", [1970, 2200])
def test_a_download_of_any_time_is_returned(session: SessionFolder, year: int) -> None:
    (session.downloads / "b.txt").write_bytes(b"12345")
    moment = datetime(year, 1, 2, tzinfo=timezone.utc).timestamp()
    os.utime(session.downloads / "b.txt", (moment, moment))
    with zipfile.ZipFile(io.BytesIO(read_download(session, "b.txt"))) as archive:
        assert archive.read("b.txt") == b"12345"


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (FileNotFoundError(errno.ENOENT, "gone"), InvalidRequest),
        (PermissionError(errno.EACCES, "open"), StorageUnavailable),
    ],
)
def test_a_download_that_cannot_be_read_or_removed_is_reported_with_the_reason(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch, error: OSError, refusal: type[DroverError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    (session.downloads / "b.txt").write_bytes(b"12345")
    monkeypatch.setattr(zipfile.ZipFile, "write", fail)
    with pytest.raises(refusal, match=r"b\.txt"):
        read_download(session, "b.txt")
    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(StorageUnavailable, match=r"b\.txt"):
        delete_downloads(session)


def test_a_download_larger_than_an_answer_is_refused_with_its_place(
    session: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_files, "MAX_FILE_BYTES", 4)
    (session.downloads / "b.txt").write_bytes(b"12345")
    with pytest.raises(RequestTooLarge, match=r"b\.txt"):
        read_download(session, "b.txt")


def test_deleting_removes_what_is_listed_and_nothing_else(session: SessionFolder) -> None:
    (session.downloads / "a.txt").write_bytes(b"1")
    (session.downloads / "c.txt.crdownload").write_bytes(b"")
    delete_downloads(session)
    assert [path.name for path in session.downloads.iterdir()] == ["c.txt.crdownload"]


def test_a_session_without_a_folder_for_downloads_has_none(folder: Path) -> None:
    assert downloads(SessionFolder(folder / "none")) == ()
