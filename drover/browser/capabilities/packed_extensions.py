"""Packed extensions that a client sends: read, checked against limits, and given a stable id.

ChromeDriver would unpack them into a folder of its own, without any limit and with a new random id for each
session. Drover unpacks them itself (`drover/browser/extensions.py`), so that they stay in the session's
folder, are loaded again by a new browser, and can be compared with what Chrome has loaded.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from drover.browser.capabilities.values import invalid, strings

MAX_EXTENSIONS = 8
MAX_PACKED_BYTES = 32 * 1024 * 1024
MAX_UNPACKED_BYTES = 256 * 1024 * 1024
MAX_FILES = 10_000
MAX_DIRECTORY_BYTES = 2 * 1024 * 1024
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024
_LONGEST_NAME = 255
_ENCRYPTED = 0x1
_CRX_MAGIC = b"Cr24"
# What has no end is taken to the end of the text: else it would be searched for again from each character.
_STRING_OR_COMMENT = re.compile(r'("(?:\\.|[^"\\])*(?:"|\\?\Z))|//[^\n]*|/\*.*?\*/|(/\*.*)', re.DOTALL)


class NotAnExtension(ValueError):
    """It is not a packed extension; the message says why, as a clause."""


@dataclass(frozen=True, slots=True)
class PackedExtension:
    """A packed extension.

    Attributes:
        archive: The ZIP archive, without the header of a CRX file.
        manifest: Its manifest, with a `key`, from which Chrome makes the id.
    """

    archive: bytes
    manifest: Mapping[str, Any]
    extension_id: str


def read_extensions(value: object, field: str) -> tuple[PackedExtension, ...]:
    """Return the extensions that a client sends, a list of CRX or ZIP files in base64.

    Raises:
        InvalidRequest: One is not a packed extension, or they exceed a limit.
    """
    encoded = strings(value, field)
    if len(encoded) > MAX_EXTENSIONS:
        raise invalid(field, f"must have at most {MAX_EXTENSIONS} extensions")
    if sum(map(len, encoded)) * 3 // 4 > MAX_PACKED_BYTES:
        raise invalid(field, f"must have at most {MAX_PACKED_BYTES // 2**20} MiB together")
    found = []
    for number, text in enumerate(encoded):
        try:
            found.append(read_extension(base64.b64decode(text, validate=True)))
        except NotAnExtension as error:
            raise invalid(f"{field}.{number}", f"is not a packed extension: {error}") from error
        except ValueError as error:
            raise invalid(f"{field}.{number}", "is not valid base64") from error
    return tuple(found)


def read_extension(packed: bytes) -> PackedExtension:
    """Return the extension in a CRX or ZIP file.

    Raises:
        NotAnExtension: It is neither, or exceeds a limit.
    """
    archive, public_key = _without_header(packed)
    _check_directory(archive)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            _check_members(opened)
            manifest = _read_manifest(opened)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, RuntimeError, EOFError, ValueError) as error:
        raise NotAnExtension(str(error)) from error
    except Exception as error:
        # zlib.error, and whatever else its parts raise for damaged data, have no common base.
        raise NotAnExtension(f"the archive is damaged ({error})") from error
    key = _declared_key(manifest) or public_key or hashlib.sha256(packed).digest()
    named = {**manifest, "key": base64.b64encode(key).decode()}
    return PackedExtension(archive, named, extension_id_of(key))


def extension_id_of(key: bytes) -> str:
    """Return the id that Chrome makes of a public key: half of its SHA-256, in the letters a to p."""
    digits = hashlib.sha256(key).hexdigest()[:32]
    return "".join(chr(ord("a") + int(digit, 16)) for digit in digits)


def members(opened: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Yield the files of an archive with their relative paths.

    Raises:
        NotAnExtension: A path would lead out of the folder, or cannot be a file's on every system.
    """
    for info in opened.infolist():
        if info.is_dir():
            continue
        path = PurePosixPath(info.filename)
        parts_are_names = all(
            part not in {"", ".", ".."} and not set(part) & set('\\:*?"<>|\x00') for part in path.parts
        )
        if path.is_absolute() or not path.parts or not parts_are_names:
            raise NotAnExtension(f"it contains a file with the path {info.filename!r}")
        if max(len(part.encode(errors="replace")) for part in path.parts) > _LONGEST_NAME:
            raise NotAnExtension("it contains a file whose name is too long")
        yield info, path


# The end record of an archive, and what stands before it in one with 64-bit numbers.
_END = b"PK\x05\x06"
_END_BYTES = 22
_END_64 = b"PK\x06\x07"
_END_64_BYTES = 20
_LONGEST_COMMENT = 65_535


def _check_directory(archive: bytes) -> None:
    """Raise if the archive's directory is larger than that of `MAX_FILES` files, before it is read."""
    end = archive.rfind(_END, max(0, len(archive) - _END_BYTES - _LONGEST_COMMENT))
    if end < 0 or len(archive) < end + _END_BYTES:
        raise NotAnExtension("it is neither a CRX nor a ZIP file")
    (directory_bytes,) = struct.unpack_from("<I", archive, end + 12)
    has_64_bits = archive[:end][-_END_64_BYTES:].startswith(_END_64)
    if has_64_bits or directory_bytes > MAX_DIRECTORY_BYTES:
        raise NotAnExtension(f"it has more than {MAX_FILES} files")


def _check_members(opened: zipfile.ZipFile) -> None:
    infos = [info for info, _ in members(opened)]
    if len(infos) > MAX_FILES:
        raise NotAnExtension(f"it has more than {MAX_FILES} files")
    # No file can yield more than it declares: zipfile stops reading there.
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise NotAnExtension(f"unpacked it has more than {MAX_UNPACKED_BYTES // 2**20} MiB")
    if any(info.flag_bits & _ENCRYPTED for info in infos):
        raise NotAnExtension("it is encrypted")


def _read_manifest(opened: zipfile.ZipFile) -> dict[str, Any]:
    if MANIFEST not in opened.namelist():
        raise NotAnExtension(f"it has no {MANIFEST}")
    if opened.getinfo(MANIFEST).file_size > MAX_MANIFEST_BYTES:
        raise NotAnExtension(f"its {MANIFEST} is too large")
    text = opened.read(MANIFEST).decode("utf-8-sig")
    try:
        # Chrome allows comments in a manifest.
        manifest = json.loads(_STRING_OR_COMMENT.sub(lambda found: found[1] or found[2] or "", text))
    except (ValueError, RecursionError) as error:
        raise NotAnExtension(f"its {MANIFEST} is not valid JSON ({error})") from error
    if not isinstance(manifest, dict):
        raise NotAnExtension(f"its {MANIFEST} is not an object")
    return manifest


def _declared_key(manifest: Mapping[str, Any]) -> bytes | None:
    declared = manifest.get("key")
    if not isinstance(declared, str):
        return None
    try:
        return base64.b64decode("".join(declared.split()), validate=True) or None
    except ValueError as error:
        raise NotAnExtension("the key in its manifest is not valid base64") from error


def _without_header(packed: bytes) -> tuple[bytes, bytes | None]:
    """Return the ZIP archive of a CRX or ZIP file, and the public key in the header of a CRX file."""
    if not packed.startswith(_CRX_MAGIC):
        return packed, None
    try:
        version, length = struct.unpack_from("<II", packed, 4)
        if version == _CRX2:
            (signature_length,) = struct.unpack_from("<I", packed, 12)
            return packed[16 + length + signature_length :], packed[16 : 16 + length]
        if version == _CRX3:
            return packed[12 + length :], _key_of_crx3(packed[12 : 12 + length])
    except (struct.error, IndexError) as error:
        raise NotAnExtension("its header is damaged") from error
    raise NotAnExtension(f"it has version {version} of the CRX format")


_CRX2 = 2
_CRX3 = 3
# Fields of the header (components/crx_file/crx3.proto): proofs by RSA and ECDSA, each with a public key in
# its field 1, and the signed data, with the extension's id in its field 1.
_PROOFS = (2, 3)
_SIGNED_DATA = 10_000


def _key_of_crx3(header: bytes) -> bytes | None:
    fields = list(_protobuf_fields(header))
    signed = next((value for number, value in fields if number == _SIGNED_DATA), b"")
    crx_id = next((value for number, value in _protobuf_fields(signed) if number == 1), b"")
    keys = [
        key
        for number, proof in fields
        if number in _PROOFS
        for inner, key in _protobuf_fields(proof)
        if inner == 1
    ]
    return next((key for key in keys if hashlib.sha256(key).digest()[: len(crx_id)] == crx_id), None)


def _protobuf_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the length-delimited fields of a message; it has no others."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        length, at = _varint(message, at)
        if tag & 7 != _LENGTH_DELIMITED:
            raise NotAnExtension("its header is damaged")
        yield tag >> 3, message[at : at + length]
        at += length


_LENGTH_DELIMITED = 2
_LONGEST_VARINT = 10


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, at + place + 1
    raise NotAnExtension("its header is damaged")
