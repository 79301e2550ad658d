"""Selenium's file commands (upload, download), which are not part of the W3C standard."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from drover.attach import w3c
from drover.core.errors import InvalidRequest, MethodNotAllowed
from drover.net.asgi import Response
from drover.storage.session_files import delete_downloads, downloads, read_download, store_upload
from drover.storage.session_folders import SessionFolder

_UPLOADS = ("/se/file", "/file")
_DOWNLOADS = "/se/files"
COMMANDS = frozenset({*_UPLOADS, _DOWNLOADS})
"""Command paths, after the session's id, that act on files."""


def answer(folder: SessionFolder, method: str, command: str, body: bytes) -> Response:
    """Run a file command and return its response; blocks on disk I/O.

    Raises:
        InvalidRequest: The body does not fit the command, or there is no such file.
        MethodNotAllowed: The command does not support this HTTP method.
        RequestTooLarge: A file exceeds the size limit.
    """
    known = _COMMANDS[_UPLOADS[0] if command in _UPLOADS else command]
    do = known.get(method)
    if do is None:
        raise MethodNotAllowed(f"{method} is not allowed on {command}. Use {', '.join(known)}.")
    return w3c.value(do(folder, w3c.read_object(body) if method == "POST" else {}))


def _upload(folder: SessionFolder, body: Mapping[str, object]) -> object:
    return str(store_upload(folder, _text(body, "file")))


def _list(folder: SessionFolder, _: Mapping[str, object]) -> object:
    found = downloads(folder)
    return {
        "names": [one.name for one in found],
        "files": [{"name": one.name, "size": one.size, "lastModifiedTime": one.modified_ms} for one in found],
    }


def _fetch(folder: SessionFolder, body: Mapping[str, object]) -> object:
    name = _text(body, "name")
    return {"filename": name, "contents": base64.b64encode(read_download(folder, name)).decode()}


def _delete(folder: SessionFolder, _: Mapping[str, object]) -> object:
    delete_downloads(folder)
    return None


def _text(body: Mapping[str, object], name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str):
        raise InvalidRequest(
            f'"{name}" is missing or not a string. Send {{"{name}": "…"}}.', {name: "must be a string"}
        )
    return text


_COMMANDS: Mapping[str, Mapping[str, Callable[[SessionFolder, Mapping[str, object]], object]]] = {
    _UPLOADS[0]: {"POST": _upload},
    _DOWNLOADS: {"GET": _list, "POST": _fetch, "DELETE": _delete},
}
