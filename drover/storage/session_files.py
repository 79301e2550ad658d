"""The files of a session: uploads of its client for pages, and downloads from pages.

They are in the folder of the session and are removed with it. A name from a client must be a single path
component. Entries of the folder that are not regular files, such as links, are ignored.
"""

from __future__ import annotations

import base64
import io
import lzma
import os
import re
import secrets
import shutil
import stat
import sys
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from drover.core.errors import DroverError, InvalidRequest, RequestTooLarge, StorageUnavailable
from drover.storage.session_folders import SessionFolder

MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_UPLOADS_BYTES = 512 * 1024 * 1024
"""Maximum total size of all uploads of one session."""
MAX_UPLOAD_BODY_BYTES = MAX_FILE_BYTES * 4 // 3 + 4 * 1024 * 1024
"""Maximum size of a request with a file: base64 makes four bytes of three, and encoders break the lines."""
PIECE_BYTES = 1024 * 1024
# The exceptions of zipfile, its decompressors and base64 for invalid data; RuntimeError if a password is
# required. bz2 raises OSError, as the disk does, but without a number.
_NOT_AN_ARCHIVE = (
    *(ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError, EOFError, OSError),
)
_UNFINISHED = ".crdownload"
# A download whose name Chrome does not know yet: `.org.chromium.Chromium.aB3dE6` or a GUID on Windows.
_NAMELESS = re.compile(r"\.(?:com|org)\.[A-Za-z.]+\.[A-Za-z0-9]{6}")
_NAMELESS_ON_WINDOWS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp", re.IGNORECASE)
_SEPARATORS = frozenset("/\\")
_MAX_NAME_BYTES = 255
_REFUSED_BY_WINDOWS = frozenset(':*?"<>|')
_WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\..*)?", re.IGNORECASE
)


# Held while the room for a file is reserved, not while it is written.
_reserving = threading.Lock()


@dataclass(frozen=True, slots=True)
class Download:
    """A complete download; `modified_ms` is in milliseconds since the epoch."""

    name: str
    size: int
    modified_ms: int


def store_upload(folder: SessionFolder, content: str) -> Path:
    """Store a file that was sent as a base64-encoded zip archive with one entry; return its path.

    Raises:
        InvalidRequest: The archive is invalid, or the name of its entry is not a plain file name.
        RequestTooLarge: The file or all uploads of the session together exceed the limit.
        StorageUnavailable: The file cannot be written, for example because the disk is full.
    """
    with (
        _only_file(content) as (entry, source),
        _new_file(folder, entry.filename, entry.file_size) as path,
    ):
        _copy(source, path)
    return path


def store_file(folder: SessionFolder, name: str, data: bytes) -> Path:
    """Store a file among the uploads of a session; return its path.

    Raises:
        InvalidRequest: The name is not a plain file name.
        RequestTooLarge: The file or all uploads of the session together exceed the limit.
        StorageUnavailable: The file cannot be written, for example because the disk is full.
    """
    with _new_file(folder, name, len(data)) as path, path.open("r+b") as stored:
        stored.write(data)
    return path


@contextmanager
def _new_file(folder: SessionFolder, name: str, size: int) -> Iterator[Path]:
    """Yield the path of a file to be written in the `with` block, in a new folder among the uploads.

    It has its size from the beginning, so that files that are written at the same time count for the limit.
    """
    target = folder.uploads / secrets.token_hex(4)
    path = target / _plain(name)
    try:
        with _reserving:
            if size > min(MAX_FILE_BYTES, MAX_UPLOADS_BYTES - _total_size(folder.uploads)):
                raise RequestTooLarge(
                    f"The limit is {MAX_FILE_BYTES} bytes for a file, and {MAX_UPLOADS_BYTES} bytes for all "
                    "uploads of a session; send less"
                )
            # The folder of a session that has ended is not made again: nothing would remove it.
            folder.uploads.mkdir(mode=0o700, exist_ok=True)
            target.mkdir(mode=0o700)
            with path.open("xb") as reserved:
                reserved.truncate(size)
        yield path
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise StorageUnavailable(
            f"The file cannot be stored in {target} ({error.strerror}): free some disk space if the disk is "
            "full, then retry"
        ) from error
    except DroverError:
        shutil.rmtree(target, ignore_errors=True)
        raise


@contextmanager
def _only_file(content: str) -> Iterator[tuple[zipfile.ZipInfo, IO[bytes]]]:
    """Open the only file in an archive; yield its entry in the directory, and its content."""
    with _unpacking():
        archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(content)))
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) != 1:
            raise InvalidRequest(f"Send a zip archive with exactly one file; this one has {len(entries)}")
        with _unpacking():
            source = archive.open(entries[0])
        with source:
            yield entries[0], source


def _copy(source: IO[bytes], path: Path) -> None:
    """Unpack a file to disk piece by piece; zipfile returns at most as many bytes as the directory says."""
    with path.open("r+b") as stored:
        while piece := _read(source):
            stored.write(piece)
        stored.truncate()


def _read(source: IO[bytes]) -> bytes:
    with _unpacking():
        return source.read(PIECE_BYTES)


@contextmanager
def _unpacking() -> Iterator[None]:
    """Say that a file is no archive if the `with` block, which only reads it, finds that."""
    try:
        yield
    except _NOT_AN_ARCHIVE as error:
        raise InvalidRequest(f"The file is not a base64-encoded zip archive: {error}") from error


def downloads(folder: SessionFolder) -> tuple[Download, ...]:
    """Return the complete downloads, sorted by name."""
    found = ((path, _state(path)) for path in _entries(folder.downloads))
    return tuple(
        Download(path.name, state.st_size, state.st_mtime_ns // 1_000_000)
        for path, state in sorted(found)
        if state is not None and is_complete(path.name, windows=sys.platform == "win32")
    )


def is_complete(name: str, *, windows: bool) -> bool:
    """Return whether a file among the downloads is complete, by its name."""
    nameless = _NAMELESS_ON_WINDOWS if windows else _NAMELESS
    return not name.endswith(_UNFINISHED) and nameless.fullmatch(name) is None


def read_download(folder: SessionFolder, name: str) -> bytes:
    """Return a download as a zip archive with one entry, the format that Selenium's clients expect.

    Raises:
        InvalidRequest: There is no download with this name.
        RequestTooLarge: The download is larger than the limit of a response.
        StorageUnavailable: The file cannot be read, for example because another program has it open.
    """
    path = folder.downloads / _plain(name)
    state = _state(path)
    if state is None:
        raise _no_download(name)
    if state.st_size > MAX_FILE_BYTES:
        raise RequestTooLarge(
            f"{name} has {state.st_size} bytes, more than the limit of {MAX_FILE_BYTES}; "
            f"copy it from {path} on the machine of the service"
        )
    packed = io.BytesIO()
    try:
        # An archive has no time before 1980 and after 2107: it gets the nearest.
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            archive.write(path, path.name)
    except FileNotFoundError as error:
        raise _no_download(name) from error
    except OSError as error:
        raise StorageUnavailable(f"{path} cannot be read ({error.strerror}); retry") from error
    return packed.getvalue()


def _no_download(name: str) -> InvalidRequest:
    return InvalidRequest(f"There is no download {name!r}; list the downloads to see the names")


def delete_downloads(folder: SessionFolder) -> None:
    """Remove the complete downloads; those in progress stay.

    Raises:
        StorageUnavailable: A file cannot be removed, for example because another program has it open.
    """
    for download in downloads(folder):
        path = folder.downloads / download.name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnavailable(f"{path} cannot be removed ({error.strerror}); retry") from error


def _plain(name: str) -> str:
    """Return the name if this system can store a file under it, and it leads into no other folder.

    People's files have spaces of every kind, emoji, colons and marks for right-to-left text in their names.

    Raises:
        InvalidRequest: It is not.
    """
    problem = name_problem(name, windows=sys.platform == "win32")
    if problem is not None:
        raise InvalidRequest(f"{name[:80]!r} is not a plain file name: {problem}")
    return name


def name_problem(name: str, *, windows: bool) -> str | None:
    """Return why a text cannot be the name of a file, or None if it can."""
    if name in {"", ".", ".."}:
        return "it names a folder"
    if _SEPARATORS & set(name):
        return "send a name without a folder"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        return "it has control characters, or half of a surrogate pair"
    if len(name.encode("utf-8")) > _MAX_NAME_BYTES:
        return f"it is longer than {_MAX_NAME_BYTES} bytes"
    if windows and (_REFUSED_BY_WINDOWS & set(name) or name[-1] in ". " or _WINDOWS_DEVICE.fullmatch(name)):
        return "Windows reserves it, or a character in it"
    return None


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except FileNotFoundError:
        return


def _state(path: Path) -> os.stat_result | None:
    try:
        state = path.lstat()
    except OSError:
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def _total_size(folder: Path) -> int:
    # A folder in it may go at this moment, as its upload fails.
    paths = (Path(inner, name) for inner, _, names in os.walk(folder) for name in names)
    return sum(state.st_size for path in paths if (state := _state(path)) is not None)
