"""Names and parents of all processes of Windows, in one call.

psutil takes such a snapshot of the whole machine for every single parent that it is asked for. Source:
Microsoft's pages on `CreateToolhelp32Snapshot` and `PROCESSENTRY32W`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_PROCESSES = 0x2
_NO_HANDLE = ctypes.c_void_p(-1).value


@dataclass(frozen=True, slots=True)
class Entry:
    """One process in the snapshot."""

    pid: int
    ppid: int
    name: str


if sys.platform == "win32":
    from ctypes import wintypes

    class _ProcessEntry(ctypes.Structure):
        _fields_ = (
            ("size", wintypes.DWORD),
            ("usage", wintypes.DWORD),
            ("pid", wintypes.DWORD),
            ("heap", ctypes.c_size_t),
            ("module", wintypes.DWORD),
            ("threads", wintypes.DWORD),
            ("ppid", wintypes.DWORD),
            ("priority", wintypes.LONG),
            ("flags", wintypes.DWORD),
            ("name", wintypes.WCHAR * 260),
        )

    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.CreateToolhelp32Snapshot.restype = wintypes.HANDLE
    _kernel.Process32FirstW.argtypes = _kernel.Process32NextW.argtypes = (
        wintypes.HANDLE,
        ctypes.POINTER(_ProcessEntry),
    )
    _kernel.CloseHandle.argtypes = (wintypes.HANDLE,)

    def entries() -> Iterator[Entry]:
        """Yield every process of the machine.

        Raises:
            OSError: Windows could not take the snapshot.
        """
        snapshot = _kernel.CreateToolhelp32Snapshot(_PROCESSES, 0)
        if snapshot == _NO_HANDLE:
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            entry = _ProcessEntry(size=ctypes.sizeof(_ProcessEntry))
            more = _kernel.Process32FirstW(snapshot, ctypes.byref(entry))
            while more:
                yield Entry(entry.pid, entry.ppid, entry.name)
                more = _kernel.Process32NextW(snapshot, ctypes.byref(entry))
        finally:
            _kernel.CloseHandle(snapshot)
