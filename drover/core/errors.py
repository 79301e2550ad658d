"""Every error that Drover raises on purpose: one tree, each class with its `code` and HTTP status.

Library exceptions are translated into these where they enter (`browser`, `processes`, `web`);
`web` turns them into answers in one place. A message is one sentence that tells the user what to do.
"""

from __future__ import annotations

import errno
import socket
from typing import ClassVar


class DroverError(Exception):
    """Base of the tree: an error with an API `code`, an HTTP `status` and a sentence for the user.

    Args:
        message: One sentence that says what happened and what to do.
        details: Where a field is at fault, the field's name mapped to what is wrong with it.
        retry_after_s: Seconds after which asking again may help, where that is known better than by class.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retry_after_s: int | None = None

    def __init__(
        self, message: str, details: dict[str, str] | None = None, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class InvalidRequest(DroverError):
    """The request is malformed: bad JSON, wrong type, out of range, or a field nobody knows."""

    code = "invalid_request"
    status = 400


class Unauthorized(DroverError):
    """A token is configured, and the request's is missing or wrong."""

    code = "unauthorized"
    status = 401


class ForbiddenOrigin(DroverError):
    """A web page is calling, and it is not one of ours."""

    code = "forbidden_origin"
    status = 403


class ForbiddenHost(DroverError):
    """The `Host` header names a host that is not ours (a rebound DNS name)."""

    code = "forbidden_host"
    status = 403


class ForbiddenCapability(DroverError):
    """A capability that could run a program or read files outside the session."""

    code = "forbidden_capability"
    status = 403


class NotFound(DroverError):
    """No such route."""

    code = "not_found"
    status = 404


class SessionNotFound(DroverError):
    """No session of this id is in the list."""

    code = "session_not_found"
    status = 404


class MethodNotAllowed(DroverError):
    """The route exists, but not for this method."""

    code = "method_not_allowed"
    status = 405


class SessionInUse(DroverError):
    """The session is leased by somebody else."""

    code = "session_in_use"
    status = 409


class KeyConflict(DroverError):
    """`session_id` and `key` name two different sessions."""

    code = "key_conflict"
    status = 409


class RequestTooLarge(DroverError):
    """The request's body is larger than the service takes."""

    code = "request_too_large"
    status = 413


class UnsupportedMediaType(DroverError):
    """The request has a body that is not declared as JSON."""

    code = "unsupported_media_type"
    status = 415


class CleanupIncomplete(DroverError):
    """A process of ours could not be ended, or a folder could not be removed."""

    code = "cleanup_incomplete"
    status = 500


class AtCapacity(DroverError):
    """Every place is taken by a session in use, and the waiting line did not move in time."""

    code = "at_capacity"
    status = 503
    retry_after_s = 5


class BrowserUnavailable(DroverError):
    """No browser could be started, or it did not answer in time."""

    code = "browser_unavailable"
    status = 503
    retry_after_s = 10


class SessionLost(DroverError):
    """The session was closed, or lost in an emergency, while something was done for it: ask again."""

    code = "browser_unavailable"
    status = 503
    retry_after_s = 1


class RecoveryFailed(DroverError):
    """A dead session could not be brought back."""

    code = "recovery_failed"
    status = 503
    retry_after_s = 10


class ShuttingDown(DroverError):
    """The service is stopping and takes no new work."""

    code = "shutting_down"
    status = 503
    retry_after_s = 10


class StartRefused(DroverError):
    """The set-up does not allow the service to start; the message is the one line that is shown."""


class StartObstructed(StartRefused):
    """Nothing is wrong with the set-up: what stands in the way may pass, and a later start may succeed."""


class DataDirInUse(StartObstructed):
    """Another instance of the service holds the lock on the data folder."""


_MAY_PASS = {
    errno.ENOSPC,
    getattr(errno, "EDQUOT", errno.ENOSPC),
    errno.EIO,
    errno.EADDRINUSE,
    errno.EADDRNOTAVAIL,
    errno.ENFILE,
    errno.ENOMEM,
}


def start_refused(message: str, error: OSError) -> StartRefused:
    """Give the refusal of a start that `error` has stopped: for now, where such a thing may pass."""
    unresolved = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
    obstructed = unresolved or error.errno in _MAY_PASS
    return StartObstructed(message) if obstructed else StartRefused(message)
