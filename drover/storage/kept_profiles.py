"""Whole profiles that are kept for keys, each in `<data_dir>/k/<hash of the key>-<number>/`.

There are the profile, `p`, and `about.json`. A profile is moved, never copied: from the folder of a session
that ends into here, and from here into the folder of the next session with its key. A file in the session's
folder names the key for as long as the profile is in there, so whatever removes such a folder, also after a
crash, brings the profile back first. Of two profiles with one key that with the higher number is valid: the
other is what a crash has left.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from drover.storage.profile_contents import disk_usage

MAX_PROFILES: Final = 1000
ASIDE_S: Final = 24 * 3600.0
"""How long a profile that Chrome refused is kept, so that it can be inspected."""
BYTES_PER_MB: Final = 1_000_000
_MARK: Final = ".kept-for"
_ABOUT: Final = "about.json"
_KEPT: Final = re.compile(r"[0-9a-f]{24}-(\d+)")
_ASIDE: Final = re.compile(r"[0-9a-f]{24}\.refused-(\d+)")
_CACHES: Final = (
    *("GrShaderCache", "ShaderCache", "GraphiteDawnCache", "component_crx_cache", "BrowserMetrics"),
    *("Default/Cache", "Default/Code Cache", "Default/GPUCache"),
    *("Default/DawnGraphiteCache", "Default/DawnWebGPUCache"),
)
"""What Chrome makes again by itself. The Cache API of web sites and their service workers are elsewhere."""
LOCKS: Final = ("SingletonLock", "SingletonCookie", "SingletonSocket")
"""Chrome's lock on its profile, which names the host; ChromeDriver removes the other remains of a Chrome."""
PAUSES_S: Final = (0.2, 0.4, 0.8)
"""Windows keeps a file locked for a while after the process that had it open has ended."""
_VERSION: Final = "Last Version"


@dataclass(frozen=True, slots=True)
class ProfileOwner:
    """Whose profile it is.

    Attributes:
        key: The key of its sessions.
        left_with: Names the state (cookies, storage) that was kept together with it. If another state is kept
            for the key, something newer was kept since. None: no state was kept.
        last_used: When the session that left it was last used, in RFC 3339 format.
    """

    key: str
    left_with: str | None
    last_used: str


@dataclass(frozen=True, slots=True)
class KeptProfile:
    """A profile that is kept, and how many bytes it takes."""

    owner: ProfileOwner
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class _Generation:
    number: int
    owner: ProfileOwner
    path: Path


class KeptProfiles:
    """The kept profiles of one data folder; only the user of the service can read them. Thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "k"
        self._lock = threading.Lock()
        self.version = 0
        """Counts the profiles that were added."""

    def mark(self, folder: Path, owner: ProfileOwner) -> None:
        """Note in a session's folder whose profile is in it; from then on it is not removed with the folder.

        Raises:
            OSError: The disk is full.
        """
        _write(folder / _MARK, owner)

    def unmark(self, folder: Path) -> None:
        """Let the profile in a session's folder be removed with the folder."""
        (folder / _MARK).unlink(missing_ok=True)

    def bring_back(self, folder: Path) -> None:
        """Move a marked profile out of a session's folder, which is about to be removed.

        Raises:
            OSError: The disk is full, or a program has a file of the profile open.
        """
        owner = _read(folder / _MARK)
        profile = folder / "p"
        if owner is None or not profile.is_dir() or profile.is_symlink():
            return
        for name in _CACHES:
            shutil.rmtree(profile / name, ignore_errors=True)
        for name in LOCKS:
            (profile / name).unlink(missing_ok=True)
        with self._lock:
            before = self._generations(owner.key)
            target = self._make(f"{_hash(owner.key)}-{1 + max(self._numbers(owner.key), default=0)}")
            try:
                _write(target / _ABOUT, owner)
                _move(profile, target / "p")
            except OSError:
                shutil.rmtree(target, ignore_errors=True)
                raise
            self.unmark(folder)
            _remove(before)
            self.version += 1

    def take(self, key: str, folder: Path, left_with: str | None) -> bool:
        """Move the profile of a key into a session's folder, and mark it; return whether one was valid.

        Args:
            folder: The folder of a new session of that key, whose own profile is empty.
            left_with: Names the state that is kept for the key now; a profile that was left with another one
                is set aside.

        Raises:
            OSError: The disk is full, or a program has a file of the profile open.
        """
        with self._lock:
            found = self._generations(key)
            if not found:
                return False
            latest = found[-1]
            if latest.owner.left_with != left_with:
                self._set_aside(key, latest.path / "p")
                _remove(found)
                return False
            _remove(found[:-1])
            # While the mark is there and the profile is not, nothing is brought back.
            shutil.rmtree(folder / "p", ignore_errors=True)
            self.mark(folder, latest.owner)
            _move(latest.path / "p", folder / "p")
            _remove(found)
            return True

    def set_aside(self, key: str) -> Path | None:
        """Set the profile of a key aside, because Chrome refuses it; return where it is for a day.

        Raises:
            OSError: The disk is full, or a program has a file of the profile open.
        """
        with self._lock:
            found = self._generations(key)
            aside = self._set_aside(key, found[-1].path / "p") if found else None
            _remove(found)
        return aside

    def version_of(self, folder: Path) -> str | None:
        """Return the version of Chrome that has last used the profile in a session's folder."""
        try:
            return (folder / "p" / _VERSION).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None

    def forget(self, key: str) -> bool:
        """Remove the profile of a key, also one that was set aside; return whether there was one."""
        with self._lock:
            found = self._generations(key)
            for path in self._entries():
                if path.name.startswith(_hash(key)):
                    shutil.rmtree(path, ignore_errors=True)
        return bool(found)

    def forget_all(self) -> None:
        """Remove everything, also what was set aside."""
        with self._lock:
            shutil.rmtree(self._root, ignore_errors=True)

    def owners(self) -> tuple[ProfileOwner, ...]:
        """Return whose profiles are kept, the valid one of each key last."""
        with self._lock:
            return tuple(one.owner for one in self._generations(None))

    def retire(self, owner: ProfileOwner) -> None:
        """Set a profile aside that is outdated, but not one that the key's next session has left since.

        Raises:
            OSError: The disk is full, or a program has a file of the profile open.
        """
        with self._lock:
            found = [one for one in self._generations(owner.key) if one.owner == owner]
            for one in found:
                self._set_aside(owner.key, one.path / "p")
            _remove(found)

    def all(self) -> tuple[KeptProfile, ...]:
        """Return all kept profiles, the least recently used one first."""
        with self._lock:
            latest = {one.owner.key: one for one in self._generations(None)}
        profiles = [KeptProfile(one.owner, one.path, disk_usage(one.path)) for one in latest.values()]
        return tuple(sorted(profiles, key=lambda one: one.owner.last_used))

    def limit(self, max_mb: float) -> tuple[KeptProfile, ...]:
        """Remove the least recently used profiles until the others fit; return those that were removed.

        Args:
            max_mb: How much all profiles together may take, in units of 1,000,000 bytes; 0 = no limit.
        """
        self._remove_expired()
        profiles = self.all()
        with self._lock:
            # What was left since then may have the path of one that a session has taken.
            excess = tuple(
                one
                for one in over_limit(profiles, max_mb, MAX_PROFILES)
                if _read(one.path / _ABOUT) == one.owner
            )
            for one in excess:
                shutil.rmtree(one.path, ignore_errors=True)
        return excess

    def _remove_expired(self) -> None:
        for path in self._entries():
            aside = _ASIDE.fullmatch(path.name)
            if aside is not None and time.time() - int(aside[1]) > ASIDE_S:
                shutil.rmtree(path, ignore_errors=True)

    def _set_aside(self, key: str, profile: Path) -> Path:
        name = f"{_hash(key)}.refused-{time.time():.0f}"
        shutil.rmtree(self._root / name, ignore_errors=True)
        aside = self._make(name)
        _move(profile, aside / "p")
        return aside

    def _make(self, name: str) -> Path:
        self._root.mkdir(mode=0o700, exist_ok=True)
        path = self._root / name
        path.mkdir(mode=0o700)
        return path

    def _numbers(self, key: str) -> list[int]:
        named = (_KEPT.fullmatch(path.name) for path in self._entries() if path.name.startswith(_hash(key)))
        return [int(found[1]) for found in named if found]

    def _generations(self, key: str | None) -> list[_Generation]:
        """Return the profiles of a key, or of all keys; the valid one of each key last."""
        found = []
        for path in self._entries():
            named = _KEPT.fullmatch(path.name)
            is_asked_for = named and (key is None or path.name.startswith(f"{_hash(key)}-"))
            if named and is_asked_for and (path / "p").is_dir():
                owner = _read(path / _ABOUT)
                if owner is not None:
                    found.append(_Generation(int(named[1]), owner, path))
        return sorted(found, key=lambda one: one.number)

    def _entries(self) -> list[Path]:
        try:
            return sorted(self._root.iterdir())
        except OSError:
            return []


def over_limit(profiles: tuple[KeptProfile, ...], max_mb: float, max_count: int) -> tuple[KeptProfile, ...]:
    """Return which profiles to remove, the least recently used first.

    Args:
        profiles: All profiles, the least recently used one first.
        max_mb: How much they may take together, in units of 1,000,000 bytes; 0 = no limit.
        max_count: How many there may be.
    """
    size, removed = sum(one.size for one in profiles), 0
    for one in profiles:
        is_too_large = 0 < max_mb * BYTES_PER_MB < size
        if not is_too_large and len(profiles) - removed <= max_count:
            break
        size -= one.size
        removed += 1
    return profiles[:removed]


def _remove(generations: list[_Generation]) -> None:
    for one in generations:
        shutil.rmtree(one.path, ignore_errors=True)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _write(path: Path, owner: ProfileOwner) -> None:
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(asdict(owner), file)
    new.replace(path)


def _read(path: Path) -> ProfileOwner | None:
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        return ProfileOwner(str(found["key"]), found["left_with"], str(found["last_used"]))
    except (OSError, ValueError, KeyError, TypeError):
        # There is none, or it is damaged: then it is not known whose profile it is.
        return None


def _move(source: Path, target: Path) -> None:
    pauses: tuple[float | None, ...] = (*PAUSES_S, None) if sys.platform == "win32" else (None,)
    for pause in pauses:
        try:
            source.rename(target)
        except OSError:
            if pause is None:
                raise
            time.sleep(pause)
        else:
            return
