"""What a profile holds, and how much it takes."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from drover.storage.profile_contents import MAX_ORIGINS, disk_usage, origins

KIB = 1024


def quota_database(profile: Path, *storage_keys: str) -> Path:
    """Write the database in which Chrome lists what stores something, in this order of their last use."""
    path = profile / "Default" / "WebStorage" / "QuotaManager"
    path.parent.mkdir(parents=True)
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "CREATE TABLE buckets (id INTEGER PRIMARY KEY, storage_key TEXT, last_modified INTEGER)"
        )
        rows = [(key, -number) for number, key in enumerate(storage_keys)]
        database.executemany("INSERT INTO buckets (storage_key, last_modified) VALUES (?, ?)", rows)
    database.close()
    return path


def test_the_usage_is_that_of_all_files_below_a_folder(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "one").write_bytes(b"x" * 100 * KIB)
    (folder / "a" / "b" / "two").write_bytes(b"x" * 200 * KIB)
    assert 300 * KIB <= disk_usage(folder) < 400 * KIB


def test_a_folder_that_is_not_there_takes_nothing(folder: Path) -> None:
    assert disk_usage(folder / "nothing") == 0


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a privilege there")
def test_links_are_not_followed(folder: Path) -> None:
    (folder / "big").mkdir()
    (folder / "big" / "file").write_bytes(b"x" * 500 * KIB)
    small = folder / "small"
    small.mkdir()
    (small / "link").symlink_to(folder / "big", target_is_directory=True)
    assert disk_usage(small) < 100 * KIB


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allocates what is skipped")
def test_a_sparse_file_counts_what_is_allocated(folder: Path) -> None:
    with (folder / "sparse").open("wb") as file:
        os.truncate(file.fileno(), 1024**3)
    assert disk_usage(folder) < 1024**2


def test_the_origins_of_a_profile_are_listed_once_each_the_latest_first(folder: Path) -> None:
    quota_database(
        folder, "https://a.example/", "https://b.example/^0https://a.example", "https://a.example/^31"
    )
    assert origins(folder) == ("https://a.example", "https://b.example")


def test_no_more_origins_are_listed_than_are_looked_at(folder: Path) -> None:
    quota_database(folder, *(f"https://{number}.example/" for number in range(MAX_ORIGINS + 9)))
    assert len(origins(folder)) == MAX_ORIGINS


def test_a_new_or_damaged_profile_has_no_known_origins(folder: Path) -> None:
    assert origins(folder) == ()
    quota_database(folder, "https://a.example/").write_bytes(b"no database" * 100)
    assert origins(folder) == ()
