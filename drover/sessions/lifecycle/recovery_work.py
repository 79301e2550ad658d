"""The recovery of a dead session, as a background job."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from drover.browser.browsers import Browsers
from drover.browser.health import Assessment, Cause
from drover.browser.recovery import LOST_PROFILE, Method, Recovered, Recovery, RecoveryContext
from drover.browser.saved_state import SavedState
from drover.core import events
from drover.core.backoff import Failures
from drover.core.deadline import Deadline
from drover.core.errors import AtCapacity, BrowserLeftAlone, BrowserUnavailable, RecoveryFailed
from drover.core.events import Emit
from drover.core.log_context import log_step
from drover.sessions.lifecycle.crash_backoff import CRASHES
from drover.sessions.lifecycle.session_steps import SessionSteps, milliseconds_since
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session

RECOVER_S = 90.0
PAUSE_TICK_S = 0.05


@dataclass(eq=False, repr=False)
class RecoveryWork:
    """Recovers dead sessions.

    Args:
        end_orphans: Ends orphaned processes before a recovery; returns how many are proven to be gone.
    """

    _registry: SessionRegistry
    _browsers: Browsers
    _state_saver: StateSaver
    _end_orphans: Callable[[], int]
    _steps: SessionSteps
    _emit: Emit

    def run(self, reserved: Reserved, found: Assessment, pause_s: float) -> Session:
        """Recover a session after a pause, and return the ready session.

        Raises:
            RecoveryFailed: It could not be recovered; it is in the list as before.
            DroverError: The recovery was overtaken; what it has started was ended.
        """
        session, begun = reserved.session, time.monotonic()
        assert found.cause is not None
        try:
            self._emit(events.SessionAppearsDead(session.session_id, found.reason or found.cause.value))
            self._emit(events.ConnectionErrorDetected(session.session_id))
            self._pause(session, pause_s)
            context = self._context(session, found.cause)
            orphans_killed = self._end_orphans()
            log_step("cleanup before the recovery done (%d orphans ended)", orphans_killed)
            recovered = self._browsers.recoverer.recover(
                context, Deadline(RECOVER_S), self._steps.wanted(session)
            )
            return self._finish(session, context, recovered, begun, orphans_killed)
        except Exception as error:
            raise self._failed(session, found.cause, error) from error

    def recycle(self, reserved: Reserved) -> Session:
        """Exchange the browser of an unused session, and return the ready session.

        Raises:
            DroverError: It could not be exchanged, or that was overtaken; as for `run`.
        """
        session, begun = reserved.session, time.monotonic()
        try:
            self._state_saver.save_now([session])
            context = self._context(session, Cause.RECYCLED)
            recovered = self._browsers.recoverer.recycle(
                context, Deadline(RECOVER_S), self._steps.wanted(session)
            )
            return self._finish(session, context, recovered, begun, orphans_killed=0)
        except Exception as error:
            raise self._failed(session, Cause.RECYCLED, error) from error

    def _context(self, session: Session, cause: Cause) -> RecoveryContext:
        # A browser that dies at once was not saved, but its first page is known.
        state = self._state_saver.state_of(session) or SavedState.of_page(session.current_url)
        return RecoveryContext(
            session.folder,
            session.capabilities,
            session.running,
            cause,
            state,
            session.window,
            session.driver_state,
        )

    def _finish(
        self,
        session: Session,
        context: RecoveryContext,
        recovered: Recovered,
        begun: float,
        orphans_killed: int,
    ) -> Session:
        """Publish a recovered session with what the recovery has cost."""
        if recovered.set_aside is not None:
            self._emit(events.ProfileSetAside(session.session_id, str(recovered.set_aside)))
        if recovered.restored is not None:
            # Before it is published: the first save must not overwrite what it has not received.
            self._steps.remember(session, recovered.restored)
        unrestored = recovered.restored.lost if recovered.restored is not None else ()
        is_forgotten = LOST_PROFILE in recovered.lost and context.checked.keeps_profile_in_memory
        recovery = Recovery(
            context.cause,
            recovered.method,
            orphans_killed,
            milliseconds_since(begun),
            (*recovered.lost, *unrestored),
            state_restored=not (unrestored or is_forgotten),
        )
        published = self._publish(session, context, recovered, recovery)
        self._browsers.recoverer.accept(context)
        self._emit(
            events.SessionRecovered(
                session.session_id,
                recovery.cause.value,
                recovery.method.value,
                recovery.duration_ms,
                recovery.lost,
            )
        )
        return published

    def _pause(self, session: Session, seconds: float) -> None:
        """Wait before the recovery of a session in a crash loop, unless it is closed in the meantime."""
        over = time.monotonic() + seconds
        while time.monotonic() < over and self._registry.is_current(session):
            time.sleep(PAUSE_TICK_S)

    def _publish(
        self, session: Session, context: RecoveryContext, recovered: Recovered, recovery: Recovery
    ) -> Session:
        """Publish a recovered session; if that fails, end what the recovery has started."""
        has_crashed = recovery.cause is not Cause.RECYCLED
        try:
            return self._steps.publish(
                session,
                recovered.running,
                driver_state=recovered.driver_state,
                window=session.window if recovered.keeps_window else None,
                recoveries=session.recoveries + 1,
                last_recovery=recovery,
                memory_mb=None,
                crash_loop=_crashed_again(session) if has_crashed else session.crash_loop,
            )
        except BrowserUnavailable as error:
            self._browsers.recoverer.undo(context, recovered)
            if recovered.method is Method.REATTACHED:
                raise BrowserLeftAlone(error.message) from error
            raise
        except Exception:
            self._browsers.recoverer.undo(context, recovered)
            raise

    def _failed(self, session: Session, cause: Cause, error: Exception) -> Exception:
        overtaken = self._steps.overtaken(session)
        if overtaken is not None:
            self._clear_overtaken(session)
            return overtaken
        self._emit(events.SessionRecoveryFailed(session.session_id, cause.value, str(error)))
        # Published as ready although it is dead: the next request finds it dead and retries the recovery.
        # A browser that lives has not crashed again: its session is recovered as soon as that is possible.
        has_crashed = not isinstance(error, (BrowserLeftAlone, AtCapacity))
        self._registry.publish(
            session, crash_loop=_crashed_again(session) if has_crashed else session.crash_loop
        )
        if isinstance(error, AtCapacity):
            return error
        return RecoveryFailed(
            f"Session {session.session_id} could not be recovered after {cause.value}: "
            f"{str(error).rstrip('.')}. Retry, or delete the session."
        )

    def _clear_overtaken(self, session: Session) -> None:
        try:
            self._steps.clear(session)
        except Exception as error:  # noqa: BLE001 - waiting callers get the error that it was overtaken
            # The close that has overtaken it, or the next cleanup, retries.
            self._emit(events.SessionCloseIncomplete(session.session_id, str(error)))


def _crashed_again(session: Session) -> Failures:
    return CRASHES.failed(session.crash_loop, time.monotonic())
