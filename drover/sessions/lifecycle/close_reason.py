"""Why a session is closed."""

from __future__ import annotations

from enum import Enum


class CloseReason(Enum):
    """Why a session is closed; unless it was deleted, its state is kept for the next session of its key.

    `QUIT` is the end by its driver's client: `driver.quit()` is in every script, and must not end a login.
    """

    DELETED = "deleted"
    QUIT = "quit"
    IDLE = "idle"
    EVICTED = "evicted"
    STOPPING = "stopping"
    DRAINED = "drained"
    UNWANTED = "client gone"
    RETRIED = "retried"
    PROBED = "start probe"
    GIVEN_AWAY = "given away"
