"""Termination of processes: the only module that sends signals.

The start time is compared after the process has been opened, and the signal goes to the opened process: on
Linux through a pidfd, which can never refer to a later process with the same pid, elsewhere through psutil,
which compares the start time itself. If the start time cannot be read, no signal is sent. `end()` does not
reap, because that would take the exit status from the code that started the process.

A pidfd for each target would need more descriptors than systemd's default limit of 1,024 allows, so
only some are kept open to wait for; the others are opened for each signal and polled.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import psutil

from drover.processes.host.descriptors import descriptor_limit
from drover.processes.table import Liveness, ProcessIdentity, identify, liveness

_POLL_PAUSE_S = 0.02
_MOST_KEPT_OPEN = 128
"""Targets whose pidfd stays open until they have ended, at most."""
_NOTHING_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Outcome(str, Enum):
    """The result of an attempt to end a process."""

    ENDED = "ended"
    KILLED = "killed"
    ALREADY_GONE = "already_gone"
    DENIED = "denied"
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Termination:
    """The outcome for one process, and the reason if it was not ended."""

    identity: ProcessIdentity
    outcome: Outcome
    detail: str | None = None


def end(
    targets: Sequence[ProcessIdentity], *, grace: float = 1.0, timeout: float = 3.0
) -> tuple[Termination, ...]:
    """End processes together: send SIGTERM to all, wait for all, kill the rest.

    A stopped process is killed at once, because it cannot handle SIGTERM.

    Args:
        grace: Seconds that the processes have to end after SIGTERM; with 0 they are killed at once.
        timeout: Seconds to wait for killed processes.

    Returns:
        One outcome for each target, in the order of the targets; a process that does not end raises nothing.
    """
    kept = min(_MOST_KEPT_OPEN, descriptor_limit() // 8)
    attempts = [_Attempt(target, kept_open=number < kept) for number, target in enumerate(targets)]
    try:
        for attempt in attempts:
            attempt.ask(kill=grace <= 0)
        _wait(attempts, grace)
        for attempt in attempts:
            attempt.kill()
        _wait(attempts, timeout)
        return tuple(attempt.conclude() for attempt in attempts)
    finally:
        for attempt in attempts:
            attempt.close()


def tree_of(root: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
    """Return a process and all its descendants, parents first; empty if it is gone.

    Costs one scan of all processes. A descendant that has lost its parent is not found.
    """
    if liveness(root) is Liveness.GONE:
        return ()
    try:
        below = psutil.Process(root.pid).children(recursive=True)
    except psutil.Error:
        below = []
    # The identity is read before the comparison of psutil, so it belongs to the process that was found.
    identified = ((child, identify(child.pid)) for child in below)
    children = tuple(one for child, one in identified if one is not None and child.is_running())
    return (root, *children) if liveness(root) is not Liveness.GONE else children


class _Handle(Protocol):
    """An opened process: signals go to it, never to a later process with its pid."""

    def send(self, number: int) -> None: ...
    def close(self) -> None: ...


class _PidfdHandle:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, number: int) -> None:
        if sys.platform == "linux":
            signal.pidfd_send_signal(self.descriptor, number)

    def close(self) -> None:
        os.close(self.descriptor)


class _PsutilHandle:
    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def send(self, number: int) -> None:
        try:
            self._process.send_signal(number)
        except psutil.NoSuchProcess as error:
            raise ProcessLookupError(errno.ESRCH, "no such process") from error
        except psutil.AccessDenied as error:
            raise PermissionError(errno.EPERM, "permission denied") from error

    def close(self) -> None:
        return


def _open(pid: int) -> _Handle | None:
    """Return an open process, or None if no process has this pid.

    Raises:
        OSError: It may not be opened, or no descriptor or memory is left for that.
    """
    if sys.platform == "linux":
        try:
            return _PidfdHandle(os.pidfd_open(pid))
        except ProcessLookupError:
            return None
        except OSError as error:
            if error.errno in _NOTHING_LEFT:
                raise
            # An old kernel, or a container that forbids the call: psutil does without.
    try:
        return _PsutilHandle(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied as error:
        raise PermissionError(errno.EPERM, "permission denied") from error


class _Attempt:
    """The attempt to end one target; `outcome` is None until it is known."""

    def __init__(self, identity: ProcessIdentity, *, kept_open: bool) -> None:
        self.identity = identity
        self.outcome: Outcome | None = None
        self._detail: str | None = None
        self._handle: _Handle | None = None
        self._kept_open = kept_open
        self._killed = False

    @property
    def descriptor(self) -> int | None:
        return self._handle.descriptor if isinstance(self._handle, _PidfdHandle) else None

    def ask(self, *, kill: bool) -> None:
        """Send the first signal: SIGKILL if asked for, or if the process is stopped and could not act."""
        if self.identity.pid in (0, 1, os.getpid()):
            self._settle(Outcome.DENIED, "it is the Drover service or the system's first process")
            return
        self._killed = kill or liveness(self.identity) is Liveness.STOPPED
        self._signal(_KILL if self._killed else signal.SIGTERM, gone=Outcome.ALREADY_GONE)

    def kill(self) -> None:
        """Kill the process if it has not ended."""
        if self.outcome is None and not self._killed:
            self._signal(_KILL, gone=Outcome.ENDED)
            self._killed = self.outcome is None

    def notice_end(self) -> None:
        """Set the outcome of a process that is gone."""
        if self.outcome is None:
            self._settle(Outcome.KILLED if self._killed else Outcome.ENDED)

    def conclude(self) -> Termination:
        """Check the process for the last time, and return the outcome."""
        if self.outcome is None and liveness(self.identity) is Liveness.GONE:
            self.notice_end()
        if self.outcome is None:
            self._settle(Outcome.SURVIVED, "still running after SIGKILL")
        return Termination(self.identity, self.outcome or Outcome.SURVIVED, self._detail)

    def close(self) -> None:
        """Close the descriptor."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _signal(self, number: int, gone: Outcome) -> None:
        """Open the process, make sure that it is the one that was meant, and send it a signal."""
        try:
            self._handle = self._handle or _open(self.identity.pid)
            if self._handle is None:
                self._settle(gone)
                return
            found = identify(self.identity.pid)
            if found is None and liveness(self.identity) is not Liveness.GONE:
                self._settle(Outcome.DENIED, "its start time cannot be read, so it may be another process")
            elif found != self.identity:
                self._settle(gone)
            else:
                self._handle.send(number)
        except ProcessLookupError:
            self._settle(gone)
        except OSError as error:
            self._settle(Outcome.DENIED, f"it could not be opened: {error.strerror}")
        finally:
            if not self._kept_open or self.outcome is not None:
                self.close()

    def _settle(self, outcome: Outcome, detail: str | None = None) -> None:
        self.outcome, self._detail = outcome, detail


# Windows has only one way to end a process, which Python maps to SIGTERM.
_KILL: int = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL


def _wait(attempts: Sequence[_Attempt], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        open_attempts = [attempt for attempt in attempts if attempt.outcome is None]
        remaining = deadline - time.monotonic()
        if not open_attempts or remaining <= 0:
            return
        _wait_for_some(open_attempts, remaining)


def _wait_for_some(attempts: Sequence[_Attempt], seconds: float) -> None:
    by_descriptor = {attempt.descriptor: attempt for attempt in attempts if attempt.descriptor is not None}
    plain = [attempt for attempt in attempts if attempt.descriptor is None]
    pause = min(seconds, _POLL_PAUSE_S) if plain else seconds
    if sys.platform == "linux" and by_descriptor:
        for descriptor in _poll(by_descriptor.keys(), pause):
            by_descriptor[descriptor].notice_end()
    else:
        time.sleep(pause)
    for attempt in plain:
        if liveness(attempt.identity) is Liveness.GONE:
            attempt.notice_end()


def _poll(descriptors: Iterable[int], seconds: float) -> list[int]:
    # A pidfd becomes readable when its process has exited, whether or not it was reaped.
    if sys.platform == "win32":
        return []
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(max(1, int(seconds * 1000)))]
