"""What is kept for keys: the state of the browser in the database, and the whole profile if wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drover.browser.saved_state import SavedState
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, NothingKept, SessionInUse, StorageUnavailable
from drover.core.logs import rfc3339
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from drover.storage.kept_profiles import BYTES_PER_MB, KeptProfile, KeptProfiles, ProfileOwner
from drover.storage.store import KeptState


@dataclass(frozen=True, slots=True)
class KeptKey:
    """What is kept for a key.

    Attributes:
        last_used: When the session that left it was last used, or ended; for a state that a client has sent,
            when that was. In RFC 3339 format.
        size_mb: What it takes on disk, in units of 1,000,000 bytes.
        has_profile: Whether the whole profile is kept, not only cookies, storage and address.
    """

    key: str
    last_used: str
    size_mb: float
    has_profile: bool


@dataclass(eq=False, repr=False)
class KeptLogins:
    """What ended sessions have left for the next session of their key."""

    _registry: SessionRegistry
    _repository: SessionRepository
    _state_saver: StateSaver
    _profiles: KeptProfiles

    def keep(self, session: Session) -> None:
        """Save the browser of a session that ends a last time, and keep what it has; see `keep_as_saved`."""
        if session.key is not None:
            self._state_saver.save_now([session])
            self.keep_as_saved(session)

    def keep_as_saved(self, session: Session) -> None:
        """Keep what the browser of a session that ends had at the last save; its folder is removed later.

        Raises:
            StorageUnavailable: The profile could not be marked, because the disk is full.
        """
        state = self._state_saver.state_of(session)
        if session.key is None or state is None:
            return
        kept_at = self._repository.keep_for_key(session, session.key, state)
        if not session.keeps_profile:
            # An earlier profile is older than this state.
            self._profiles.forget(session.key)
            self._profiles.unmark(session.folder.path)
            return
        try:
            owner = ProfileOwner(session.key, kept_at.isoformat(), rfc3339(session.last_used))
            self._profiles.mark(session.folder.path, owner)
        except OSError as error:
            raise StorageUnavailable(f"The profile of key {session.key} cannot be kept: {error}") from error

    def forget_with(self, session: Session) -> None:
        """Forget what is kept for the key of a session that is deleted, and what it would leave."""
        if session.key is not None:
            self._repository.forget_key(session, session.key)
            self._profiles.forget(session.key)
        # Last, as its start may have taken the profile until it was forgotten.
        self._profiles.unmark(session.folder.path)

    def ended(self, session: Session, *, parks: bool) -> None:
        """Record on disk that a session has ended.

        Args:
            parks: Whether it ends with the service, so that another machine may go on with it.

        Raises:
            StorageUnavailable: It could not be written in time; the attempts go on.
        """
        (self._repository.leave if parks else self._repository.end)(session)
        self._state_saver.forget(session)

    def never_started(self, session: Session) -> None:
        """Forget a session that was never ready, in the background."""
        self._repository.forget(session)

    def kept_for(self, session: Session) -> SavedState | None:
        """Return the state that is kept for a new session's key.

        Raises:
            StorageUnavailable: The database could not be read.
        """
        return self._repository.kept_for_key(session.key) if session.key is not None else None

    def take_profile(self, session: Session) -> bool:
        """Move the profile that is kept for a new session's key into its folder; return whether it was.

        Raises:
            BrowserUnavailable: The disk is full, or a program has a file of it open.
        """
        if session.key is None or not session.keeps_profile:
            return False
        left_with = self._left_with(session.key)
        try:
            return self._profiles.take(session.key, session.folder.path, left_with)
        except OSError as error:
            raise BrowserUnavailable(
                f"The kept profile of key {session.key} cannot be used ({error}). Free space, then retry."
            ) from error

    def return_profile(self, session: Session) -> None:
        """Move the profile of a key back out of the folder of a session that could not start on it.

        Raises:
            BrowserUnavailable: The disk is full, or a program has a file of it open.
        """
        try:
            self._profiles.bring_back(session.folder.path)
            session.folder.profile.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise BrowserUnavailable(
                f"The kept profile of key {session.key} cannot be moved ({error}). Retry."
            ) from error

    def refuse_profile(self, session: Session) -> Path | None:
        """Set the profile that is kept for a session's key aside, because Chrome starts without it only."""
        return self._profiles.set_aside(session.key) if session.key is not None else None

    def profile_version(self, session: Session) -> str | None:
        """Return the version of Chrome that has last used the profile in a session's folder."""
        return self._profiles.version_of(session.folder.path)

    def keys(self, deadline: Deadline) -> tuple[KeptKey, ...]:
        """Return what is kept for all keys, the most recently used first.

        Raises:
            StorageUnavailable: The database could not be read.
        """
        return kept_keys(self._repository.kept_keys(deadline), self._profiles.all())

    def forget(self, key: str, deadline: Deadline) -> None:
        """Forget what is kept for a key; a session of that key that exists goes on.

        Raises:
            NothingKept: Nothing is kept for the key.
            StorageUnavailable: The deletion could not be written to disk.
        """
        is_known = self._repository.keeps(key)
        had_profile = self._profiles.forget(key)
        if not is_known and not had_profile:
            raise NothingKept(f"Nothing is kept for key {key}; GET /keys lists all keys")
        self._repository.forget_key_durably(key, deadline)

    def state_of(self, key: str) -> SavedState:
        """Return the state of the session of a key, or else what is kept for it.

        Raises:
            NothingKept: There is neither.
            StorageUnavailable: The database could not be read.
        """
        session = self._session_of(key)
        if session is not None:
            self._state_saver.save_now([session])
            state = self._state_saver.state_of(session)
            if state is not None:
                return state
        kept = self._repository.state_elsewhere(key) or self._repository.kept_for_key(key)
        if kept is None:
            raise NothingKept(f"Nothing is kept for key {key}; GET /keys lists all keys")
        return kept

    def put(self, key: str, state: SavedState, deadline: Deadline) -> None:
        """Keep a state that a client has sent for the next session of a key, instead of what is kept for it.

        Raises:
            SessionInUse: The key has a session, whose state would replace this one when it ends.
            StorageUnavailable: It could not be written to disk.
        """
        session = self._session_of(key)
        found = session.session_id if session is not None else self._repository.session_elsewhere(key)
        if found is not None:
            raise SessionInUse(
                f"Key {key} has the session {found}, which would overwrite this state when it "
                "ends; close it first, with keep=true to keep its own state"
            )
        self._repository.put_for_key(key, state, deadline)
        self._profiles.forget(key)

    def retire_outdated_profiles(self) -> None:
        """Set the profiles aside of keys for which another node has kept something since, or nothing is kept.

        Raises:
            StorageUnavailable: The database does not answer.
            OSError: The disk is full, or a program has a file of a profile open.
        """
        for owner in self._profiles.owners():
            if self._left_with(owner.key) != owner.left_with:
                self._profiles.retire(owner)

    def _left_with(self, key: str) -> str | None:
        """Return what names the state that is kept for a key, in the mark of the profile left with it."""
        kept = self._repository.kept_login(key)
        return kept.taken_at.isoformat() if kept is not None else None

    def _session_of(self, key: str) -> Session | None:
        return next((one for one in self._registry.sessions() if one.key == key), None)


def kept_keys(states: Iterable[KeptState], profiles: Iterable[KeptProfile]) -> tuple[KeptKey, ...]:
    """Return what is kept for all keys, the most recently used first."""
    by_key = {one.owner.key: one for one in profiles}
    found = []
    for state in states:
        profile = by_key.get(state.key)
        size = state.size + (profile.size if profile is not None else 0)
        last_used = profile.owner.last_used if profile is not None else rfc3339(state.taken_at)
        found.append(KeptKey(state.key, last_used, round(size / BYTES_PER_MB, 3), profile is not None))
    return tuple(sorted(found, key=lambda one: one.last_used, reverse=True))
