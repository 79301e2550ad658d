"""Connections to PostgreSQL: what a hung client or a hung server does to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

import psycopg
import pytest

from drover.core.errors import StorageUnavailable
from drover.storage.postgres import link
from drover.storage.postgres.database import MIGRATE_S
from drover.storage.postgres.link import LIMIT_S, Answered, Connection, Link, Watchdog
from tests.machine import wait_until
from tests.postgres import MISSING, Postgres, is_installed, postgres

pytestmark = [pytest.mark.skipif(not is_installed(), reason=MISSING), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        running.execute("CREATE TABLE marks (name text PRIMARY KEY, beat int)")
        running.execute("INSERT INTO marks VALUES ('one', 0)")
        yield running


@contextmanager
def two_links(server: Postgres) -> Iterator[tuple[Link, Link]]:
    """Yield two connections of one program."""
    watchdog, answered = Watchdog(), Answered()
    one, other = (Link(server.url, watchdog, answered) for _ in range(2))
    with closing(one), closing(other):
        yield one, other
    watchdog.stop()


def count(connection: Connection) -> None:
    connection.execute("UPDATE marks SET beat = beat + 1 WHERE name = 'one'")


def read(connection: Connection) -> object:
    return connection.execute("SELECT 1").fetchone()


def succeeds(link: Link, work: Callable[[Connection], object] = count, limit_s: float = LIMIT_S) -> bool:
    try:
        link.run(work, limit_s)
    except StorageUnavailable:
        return False
    return True


def test_a_client_that_hangs_in_a_transaction_keeps_its_locks_for_seconds_only(server: Postgres) -> None:
    holds, may_go_on = Event(), Event()

    def hang(connection: Connection) -> None:
        count(connection)
        holds.set()
        may_go_on.wait()
        count(connection)

    with two_links(server) as (hung, other), ThreadPoolExecutor(1) as pool:
        # A hung process has no thread that would shut its socket down: nothing limits its call.
        call = pool.submit(hung.run, hang, 600.0)
        try:
            assert holds.wait(10)
            assert not succeeds(other), "nothing is locked"
            wait_until(lambda: succeeds(other), "the locks are given back")
        finally:
            may_go_on.set()
        with pytest.raises(StorageUnavailable):
            call.result()


def test_a_failure_is_not_told_after_another_connection_has_found_it_over(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PAUSE_S", 600.0)
    with two_links(server) as (one, other):
        server.pause()
        try:
            with pytest.raises(StorageUnavailable):
                one.run(read, 0.2)
        finally:
            server.go_on()
        with pytest.raises(StorageUnavailable):
            one.run(read)
        wait_until(lambda: succeeds(other, read), "the server answers")
        assert one.run(read) == (1,)


def test_a_call_that_was_given_up_leaves_nothing_that_waits_in_the_server(server: Postgres) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with two_links(server) as (one, _), psycopg.connect(server.url) as holder:
        holder.execute("UPDATE marks SET beat = beat + 1 WHERE name = 'one'")
        with pytest.raises(StorageUnavailable):
            one.run(count, 0.5)
        wait_until(lambda: server.execute(waiting) == [(0,)], "the server gives it up as well")


def test_a_migration_that_waits_for_a_backup_lets_the_others_go_on(server: Postgres) -> None:
    def migrate(connection: Connection) -> None:
        connection.execute("ALTER TABLE marks ADD COLUMN added int")

    with two_links(server) as (new, other), psycopg.connect(server.url) as backup:
        backup.execute("SELECT * FROM marks")
        with ThreadPoolExecutor(1) as pool:
            migration = pool.submit(succeeds, new, migrate, MIGRATE_S)
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(lambda: server.execute(waiting) == [(1,)] or migration.done(), "the migration waits")
            assert succeeds(other)
            assert not migration.result()


def test_after_a_restart_of_the_database_no_call_fails(server: Postgres) -> None:
    with two_links(server) as links:
        for one in links:
            assert one.run(read) == (1,)
        server.stop()
        server.start()
        for one in links:
            assert one.run(read) == (1,)


def test_a_connection_that_the_server_has_ended_is_replaced(server: Postgres) -> None:
    with two_links(server) as (one, _):
        pid = one.run(lambda connection: connection.info.backend_pid)
        assert server.execute("SELECT pg_terminate_backend(%s, 5000)", pid) == [(True,)]
        assert one.run(read) == (1,)


def test_it_is_known_when_a_connection_was_opened_again(server: Postgres) -> None:
    watchdog, answered = Watchdog(), Answered()
    with closing(Link(server.url, watchdog, answered)) as one:
        one.run(read)
        one.run(read)
        assert answered.reopened_at == float("-inf")
        server.stop()
        server.start()
        before = time.monotonic()
        one.run(read)
        assert answered.reopened_at >= before
    watchdog.stop()
