"""Extensions in a session's folder: unpacked for Chrome, and compared with what Chrome has loaded."""

from __future__ import annotations

import errno
import io
import json
import shutil
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from drover.browser.capabilities.packed_extensions import MANIFEST, NotAnExtension, PackedExtension, members
from drover.browser.capabilities.tables import Ignored
from drover.browser.capabilities.values import cut
from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.navigation import background_page
from drover.core.errors import BrowserUnavailable, SessionNotCreated

COMMAND_S = 5.0
LOADED_S = 5.0
POLL_S = 0.05
_CHUNK_BYTES = 1024 * 1024
PAGE = "chrome://extensions"
_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_LOADED = "chrome.management.getAll().then(all => JSON.stringify(all.map(one => one.id)))"


def unpack(extensions: Sequence[PackedExtension], folder: Path) -> None:
    """Unpack extensions into `folder`, each into a folder of its own.

    Raises:
        SessionNotCreated: An archive is damaged.
        BrowserUnavailable: The disk is full.
    """
    for number, extension in enumerate(extensions):
        try:
            _unpack(extension, folder / str(number))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise BrowserUnavailable(
                    f"Disk full: an extension cannot be unpacked in {folder}. Free some space, then retry."
                ) from error
            raise _damaged(number, error) from error
        except Exception as error:
            # Damaged data raises zlib.error, BadZipFile, EOFError and others, which have no common base.
            raise _damaged(number, error) from error


def unpacked(folder: Path) -> list[str]:
    """Return the paths of the extensions that are unpacked in a folder, in the order they were sent."""
    if not folder.is_dir():
        return []
    return [str(path) for path in sorted(folder.iterdir(), key=lambda path: path.name)]


def not_loaded(connection: Connection, wanted: Sequence[PackedExtension]) -> list[Ignored]:
    """Return those extensions that Chrome did not load, asking its own page about extensions."""
    try:
        with background_page(connection, PAGE) as target_id:
            loaded = _loaded(connection, target_id)
    except DevToolsFailed as error:
        return [Ignored(_name(one), f"Chrome does not say whether it loaded it ({error})") for one in wanted]
    return [
        Ignored(
            _name(one), f"Chrome did not load it (manifest version {one.manifest.get('manifest_version')})"
        )
        for one in wanted
        if one.extension_id not in loaded
    ]


def _loaded(connection: Connection, target_id: str) -> set[str]:
    """Return the ids of what is loaded; the page's interfaces are there once it has begun to load."""
    over = time.monotonic() + LOADED_S
    while True:
        answer = connection.call_page(
            target_id,
            "Runtime.evaluate",
            COMMAND_S,
            expression=_LOADED,
            awaitPromise=True,
            returnByValue=True,
        )
        listed = answer["result"].get("value")
        if isinstance(listed, str):
            return set(json.loads(listed))
        if time.monotonic() > over:
            raise DevToolsFailed(f"{PAGE} does not list them")
        time.sleep(POLL_S)


def _unpack(extension: PackedExtension, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    with zipfile.ZipFile(io.BytesIO(extension.archive)) as opened:
        for info, path in members(opened):
            if path.as_posix() == MANIFEST:
                continue
            target = folder / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with opened.open(info) as source, target.open("wb") as written:
                shutil.copyfileobj(source, written, _CHUNK_BYTES)
    (folder / MANIFEST).write_text(json.dumps(extension.manifest), encoding="utf-8")


def _damaged(number: int, error: Exception) -> SessionNotCreated:
    reason = str(error) if isinstance(error, NotAnExtension) else f"the archive is damaged ({error})"
    where = f"capabilities.goog:chromeOptions.extensions.{number}"
    return SessionNotCreated(f"Extension {number} cannot be unpacked: {reason}.", {where: "is damaged"})


def _name(one: PackedExtension) -> str:
    return f"extension {cut(str(one.manifest.get('name', '')))!r}"
