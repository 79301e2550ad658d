"""A session's files: those that its client brings for pages to take, and those that pages let it download.

They lie in the session's own folder and go with it. A name from outside is one plain component of a path,
or it is refused; what is in the folder without being a plain file (a link, say) does not exist here.
"""

from __future__ import annotations

import base64
import io
import os
import secrets
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drover.core.errors import InvalidRequest, RequestTooLarge
from drover.storage.session_folders import SessionFolder

MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_UPLOADS_BYTES = 512 * 1024 * 1024
"""What all the uploads of one session may hold together."""
# All that zipfile and base64 say of bytes that are none; RuntimeError where a password is wanted.
_NOT_AN_ARCHIVE = (ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
_UNFINISHED = ".crdownload"
_UNSAFE = frozenset('/\\:*?"<>|')


@dataclass(frozen=True, slots=True)
class Download:
    """A file that a page let the browser download, whole by now; the time is in ms since the epoch."""

    name: str
    size: int
    modified_ms: int


def store_upload(folder: SessionFolder, content: str) -> Path:
    """Store a file that came as a zip archive with one entry, in base64, and give its path.

    Raises:
        InvalidRequest: It is no such archive, or the entry's name would leave the folder.
        RequestTooLarge: The file is larger than is taken, or the session's uploads together are.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(content))) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) != 1:
                raise InvalidRequest(f"Send a zip archive with one file; this one has {len(entries)}")
            name = _plain(entries[0].filename)
            with archive.open(entries[0]) as source:
                # What an archive says of its entry's size may be a lie.
                data = source.read(MAX_FILE_BYTES + 1)
    except _NOT_AN_ARCHIVE as error:
        raise InvalidRequest(f"The file is not a zip archive in base64: {error}") from error
    if len(data) > MAX_FILE_BYTES or len(data) + _held(folder.uploads) > MAX_UPLOADS_BYTES:
        raise RequestTooLarge(
            f"A file may have {MAX_FILE_BYTES} bytes, and all files of a session {MAX_UPLOADS_BYTES}"
        )
    home = folder.uploads / secrets.token_hex(4)
    home.mkdir(mode=0o700, parents=True)
    path = home / name
    path.write_bytes(data)
    return path


def downloads(folder: SessionFolder) -> tuple[Download, ...]:
    """Give the files that were downloaded, by name; one that still comes in is not among them."""
    found = ((path, _state(path)) for path in _entries(folder.downloads))
    return tuple(
        Download(path.name, state.st_size, state.st_mtime_ns // 1_000_000)
        for path, state in sorted(found)
        if state is not None and not path.name.endswith(_UNFINISHED)
    )


def read_download(folder: SessionFolder, name: str) -> bytes:
    """Give a download as a zip archive with one entry, which is what Selenium's clients take.

    Raises:
        InvalidRequest: There is none of this name.
        RequestTooLarge: It is larger than an answer may be.
    """
    path = folder.downloads / _plain(name)
    state = _state(path)
    if state is None:
        raise InvalidRequest(f"There is no download {name!r}; GET the list of files first")
    if state.st_size > MAX_FILE_BYTES:
        raise RequestTooLarge(
            f"{name} has {state.st_size} bytes; take it from {path} on the service's machine"
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)
    return packed.getvalue()


def delete_downloads(folder: SessionFolder) -> None:
    """Remove the files that were downloaded; those that still come in stay."""
    for download in downloads(folder):
        (folder.downloads / download.name).unlink(missing_ok=True)


def _plain(name: str) -> str:
    """Give a name that is one component of a path on every system.

    Raises:
        InvalidRequest: It is not.
    """
    if not name.strip(". ") or _UNSAFE & set(name) or not name.isprintable():
        raise InvalidRequest(f"{name!r} is not a plain file name; send one without any folder")
    return name


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


def _held(folder: Path) -> int:
    states = (_state(path) for path in folder.rglob("*"))
    return sum(state.st_size for state in states if state is not None)
