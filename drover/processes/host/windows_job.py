"""A job of Windows that ends a child program with this one, however this one ends.

What the child starts is not in the job: browsers outlive the service, so that its next start adopts them.
Sources: Microsoft's pages on `AssignProcessToJobObject` and `JOBOBJECT_BASIC_LIMIT_INFORMATION`.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _EXTENDED_LIMITS = 9
    _KILL_ON_JOB_CLOSE, _SILENT_BREAKAWAY_OK = 0x2000, 0x1000
    _PROCESS_SET_QUOTA, _PROCESS_TERMINATE = 0x100, 0x1

    class _BasicLimits(ctypes.Structure):
        _fields_ = (
            ("PerProcessUserTimeLimit", ctypes.c_int64),
            ("PerJobUserTimeLimit", ctypes.c_int64),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        )

    class _ExtendedLimits(ctypes.Structure):
        _fields_ = (
            ("BasicLimitInformation", _BasicLimits),
            ("IoInfo", ctypes.c_uint64 * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    def end_child_with_us(pid: int) -> bool:
        """End a child when this program ends; return whether Windows accepts that.

        Args:
            pid: A child that was just started and not waited for.
        """
        kernel32 = ctypes.WinDLL("kernel32")
        for function in (kernel32.CreateJobObjectW, kernel32.OpenProcess):
            function.restype = wintypes.HANDLE
        # Never closed: Windows closes it when this program ends, and that ends the child.
        job = wintypes.HANDLE(kernel32.CreateJobObjectW(None, None))
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE | _SILENT_BREAKAWAY_OK
        size = ctypes.sizeof(limits)
        if not kernel32.SetInformationJobObject(job, _EXTENDED_LIMITS, ctypes.byref(limits), size):
            return False
        child = wintypes.HANDLE(kernel32.OpenProcess(_PROCESS_SET_QUOTA | _PROCESS_TERMINATE, False, pid))
        try:
            return bool(kernel32.AssignProcessToJobObject(job, child))
        finally:
            kernel32.CloseHandle(child)

else:

    def end_child_with_us(pid: int) -> bool:  # noqa: ARG001 - the same signature on every system
        """Return False: other systems have no jobs, and a program can become another one there."""
        return False
