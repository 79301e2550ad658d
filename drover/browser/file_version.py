"""The version that a Windows program carries in its file.

`chrome.exe --version` opens a window and prints nothing, so the file is asked instead. Source: Microsoft
on `GetFileVersionInfoW` and `VerQueryValueW`.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

_SIGNATURE = 0xFEEF04BD


def parse_version(info: bytes) -> str:
    """Return the version in a VS_FIXEDFILEINFO structure as four numbers; empty if it is none."""
    if len(info) < 16:  # noqa: PLR2004 - the signature, and the version after it
        return ""
    signature, _, high, low = struct.unpack_from("<IIII", info)
    if signature != _SIGNATURE:
        return ""
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"


if sys.platform == "win32":
    import ctypes

    def file_version(program: Path) -> str:
        """Return the version of a program's file; empty if it has none."""
        version = ctypes.WinDLL("version")
        size = version.GetFileVersionInfoSizeW(str(program), None)
        if not size:
            return ""
        block = ctypes.create_string_buffer(size)
        found, length = ctypes.c_void_p(), ctypes.c_uint()
        if not version.GetFileVersionInfoW(str(program), 0, size, block):
            return ""
        if not version.VerQueryValueW(block, "\\", ctypes.byref(found), ctypes.byref(length)):
            return ""
        return parse_version(ctypes.string_at(found.value or 0, length.value))

else:

    def file_version(program: Path) -> str:  # noqa: ARG001 - the same signature on every system
        """Return an empty text: only on Windows do files of programs carry a version."""
        return ""
