"""Every error that Drover raises on purpose: one class tree, each class with its `code` and HTTP status.

The packages that call a library (`browser`, `processes`, `storage`) translate its exceptions into these; the
router in `attach` turns them into responses. A message says what happened and what the user can do.
"""

from __future__ import annotations

import errno
import socket
from typing import ClassVar


class DroverError(Exception):
    """Base class: an error with an API `code`, an HTTP `status` and a message for the user.

    Args:
        message: What happened, and what the user can do.
        details: The problem with each invalid field, by field name.
        retry_after_s: Seconds after which a retry may succeed; overrides the default of the class.
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
    """The request is malformed: invalid JSON, a wrong type, a value out of range, or an unknown field."""

    code = "invalid_request"
    status = 400


class SessionNotCreated(InvalidRequest):
    """No browser can be started as the capabilities ask; other requests are not affected."""


class Unauthorized(DroverError):
    """A token is configured, and the token of the request is missing or wrong."""

    code = "unauthorized"
    status = 401


class ForbiddenOrigin(DroverError):
    """The request comes from a web page that does not belong to the service."""

    code = "forbidden_origin"
    status = 403


class ForbiddenHost(DroverError):
    """The `Host` header does not name the service (DNS rebinding)."""

    code = "forbidden_host"
    status = 403


class ForbiddenCapability(DroverError):
    """A requested capability could run a program or read files outside the session."""

    code = "forbidden_capability"
    status = 403


class NotFound(DroverError):
    """The route does not exist."""

    code = "not_found"
    status = 404


class SessionNotFound(DroverError):
    """No session has this id."""

    code = "session_not_found"
    status = 404


class NothingKept(NotFound):
    """Nothing is kept for this key."""


class MethodNotAllowed(DroverError):
    """The route exists, but does not support this method."""

    code = "method_not_allowed"
    status = 405

    def __init__(
        self, message: str, details: dict[str, str] | None = None, *, allowed: str | None = None
    ) -> None:
        super().__init__(message, details)
        self.allowed = allowed


class SessionInUse(DroverError):
    """Another client holds the lease of the session."""

    code = "session_in_use"
    status = 409


class KeyConflict(DroverError):
    """`session_id` and `key` name two different sessions."""

    code = "key_conflict"
    status = 409

    @classmethod
    def of(cls, session_id: str | None, key: str | None) -> KeyConflict:
        """Return the error for this id and this key."""
        return cls(
            f"session_id {session_id} and key {key} name two different sessions; send only one of them"
        )


class RequestTooLarge(DroverError):
    """The request body is larger than the limit."""

    code = "request_too_large"
    status = 413


class UnsupportedMediaType(DroverError):
    """The request body is not declared as JSON."""

    code = "unsupported_media_type"
    status = 415


class CleanupIncomplete(DroverError):
    """A process of Drover could not be ended, or a folder could not be removed."""

    code = "cleanup_incomplete"
    status = 500


class AtCapacity(DroverError):
    """All sessions are in use, and none became free in time for the request in the wait queue."""

    code = "at_capacity"
    status = 503
    retry_after_s = 5


class Overloaded(DroverError):
    """The service has no thread, connection or descriptor left for the request."""

    code = "overloaded"
    status = 503
    retry_after_s = 5


class StorageUnavailable(DroverError):
    """What the response would promise could not be written to disk; nothing was promised."""

    code = "storage_unavailable"
    status = 503
    retry_after_s = 5


class BrowserUnavailable(DroverError):
    """Something could not be done with a browser now; that is no proof that the browser has ended."""

    code = "browser_unavailable"
    status = 503
    retry_after_s = 10


class BrowserLeftAlone(BrowserUnavailable):
    """A recovery could not attach ChromeDriver to a browser that lives; the browser was left as it is."""


class SessionLost(DroverError):
    """The session was closed, or lost in an emergency, while the request used it; the client may retry."""

    code = "browser_unavailable"
    status = 503
    retry_after_s = 1


class RecoveryFailed(DroverError):
    """A dead session could not be recovered."""

    code = "recovery_failed"
    status = 503
    retry_after_s = 10


class NodeUnreachable(DroverError):
    """The node that has the session does not answer, and it is not known to be lost yet."""

    code = "node_unreachable"
    status = 503
    retry_after_s = 5


class NotOwner(DroverError):
    """Another node has the session, or has room for it: said to the node that has forwarded the request."""

    code = "not_owner"
    status = 421


class SentAway(NotOwner):
    """The request could wait here for a place until now; every node may be asked again, this one as well."""


class ShuttingDown(DroverError):
    """The service is stopping and accepts no new work."""

    code = "shutting_down"
    status = 503
    retry_after_s = 10

    def __init__(
        self,
        message: str = "The service is stopping; retry after its restart",
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, details)


class StartRefused(DroverError):
    """The service cannot start with this set-up; the message is the single line that the user sees."""


class StartObstructed(StartRefused):
    """A temporary condition prevents the start; the set-up is valid, and a later start may succeed."""


class DataDirInUse(StartObstructed):
    """Another instance of Drover holds the lock of the data folder."""


_TEMPORARY = {
    errno.ENOSPC,
    getattr(errno, "EDQUOT", errno.ENOSPC),
    errno.EIO,
    errno.EADDRINUSE,
    errno.EADDRNOTAVAIL,
    errno.ENFILE,
    errno.ENOMEM,
}


def start_refused(message: str, error: OSError) -> StartRefused:
    """Return the exception for a start that failed with `error`: `StartObstructed` if it may be temporary."""
    is_unresolved = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
    is_temporary = is_unresolved or error.errno in _TEMPORARY
    return StartObstructed(message) if is_temporary else StartRefused(message)
