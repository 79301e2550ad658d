"""A database that has lost its last transactions in a failover: its nodes notice, and go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from drover.browser.saved_state import SavedState
from drover.core.errors import StorageUnavailable
from drover.sessions.persistence.pending_writes import PendingWrites
from drover.storage.cluster_values import Load
from drover.storage.postgres.database import ClusterDatabase
from drover.storage.postgres.link import Answered, Connection, Link, Watchdog
from drover.storage.postgres.numbers import MARGIN, Numbers
from tests.integration.test_cluster_ownership import Node
from tests.machine import run_concurrently
from tests.postgres import MISSING, Postgres, is_installed, postgres

pytestmark = [pytest.mark.skipif(not is_installed(), reason=MISSING), pytest.mark.timeout(300)]
LOAD = Load(0, 0, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def pair(server: Postgres) -> Iterator[tuple[Node, Node]]:
    """Yield two nodes with an empty list."""
    with ExitStack() as stack:
        nodes = Node(server.url, "one", stack), Node(server.url, "two", stack)
        server.execute("TRUNCATE sessions, states, kept")
        for node in nodes:
            node.beat()
        yield nodes
        server.execute("TRUNCATE sessions, states, kept, nodes")


def set_back(server: Postgres) -> None:
    """Set the sequence back as a failover does, and end all connections."""
    server.execute("SELECT setval('epochs', 1)")
    end_connections(server)


def end_connections(server: Postgres) -> None:
    server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def epochs_of(server: Postgres) -> set[str]:
    return {str(row[0]) for row in server.execute("SELECT session_id FROM sessions")}


@pytest.mark.exhaustive
def test_no_epoch_is_given_twice_after_the_sequence_was_set_back(
    server: Postgres, pair: tuple[Node, Node]
) -> None:
    one, two = pair
    for _ in range(3):
        server.execute("SELECT max(nextval('epochs')) FROM generate_series(1, 100)")
        before = one.create(f"before-{_}").epoch
        two.beat()
        set_back(server)
        # Whichever node comes first: it has heard of the number of the other one.
        assert two.create(f"two-{_}").epoch > before
        assert one.create(f"one-{_}").epoch > before
        for node in pair:
            for session in node.registry.sessions():
                node.registry.forget(session)
        server.execute("TRUNCATE sessions, states")


def test_a_sign_of_life_finds_the_sequence_behind_also_if_no_connection_ended(
    server: Postgres, pair: tuple[Node, Node]
) -> None:
    one, _ = pair
    server.execute("SELECT max(nextval('epochs')) FROM generate_series(1, 500)")
    before = one.create("before").epoch
    server.execute("SELECT setval('epochs', 1)")
    one.beat()
    assert one.create("after").epoch > before + MARGIN


def test_the_deletion_of_everything_spares_sessions_that_were_made_after_a_failover(
    server: Postgres, pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    server.execute("SELECT max(nextval('epochs')) FROM generate_series(1, 500)")
    session = one.create("before")
    one.repository._writer.change(PendingWrites.clear)
    one.registry.forget(session)
    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise StorageUnavailable("the database does not answer")

        patched.setattr(ClusterDatabase, "write", fail)
        one.flush()
    set_back(server)
    one.create("after")
    assert epochs_of(server) == {"after"}
    assert one.ready("after") is not None


@contextmanager
def numbers_link(server: Postgres, numbers: Numbers) -> Iterator[Link]:
    watchdog = Watchdog()
    with closing(Link(server.url, watchdog, Answered(), numbers.look)) as link:
        yield link
    watchdog.stop()


def test_the_sequence_is_never_set_back_by_nodes_that_move_it_ahead_at_once(
    server: Postgres, pair: tuple[Node, Node]
) -> None:
    assert pair
    start = int(str(server.execute("SELECT setval('epochs', 10)")[0][0]))
    taken: list[int] = []
    lock = threading.Lock()

    def takes(seen: int) -> None:
        numbers = Numbers()
        numbers.note(start + seen)
        with numbers_link(server, numbers) as link:
            for _ in range(30):

                def take(connection: Connection) -> int:
                    numbers.look(connection)
                    row = connection.execute("SELECT nextval('epochs')").fetchone()
                    assert row is not None
                    return int(row[0])

                number = link.run(take)
                assert number > start + seen
                with lock:
                    taken.append(number)

    run_concurrently([lambda seen=seen: takes(seen) for seen in (100, 5000, 20_000, 40_000)])  # type: ignore[misc]
    assert len(set(taken)) == len(taken) == 120


def test_an_emergency_that_the_database_has_forgotten_is_counted_again(
    server: Postgres, pair: tuple[Node, Node]
) -> None:
    one, two = pair
    for _ in range(3):
        number = one.ownership.begin_emergency()
        one.database.emergency = number
    server.execute("UPDATE cluster SET emergency = %s", number - 2)
    assert one.ownership.begin_emergency() == number + 1
    server.execute("UPDATE cluster SET emergency = %s", number - 2)
    assert one.ownership.beat(LOAD).emergency == number
    assert two.ownership.beat(LOAD).emergency == number
    assert one.ownership.begin_emergency() == number + 1


def test_a_node_whose_restart_the_database_has_forgotten_goes_on_under_its_name(server: Postgres) -> None:
    with ExitStack() as stack:
        before = Node(server.url, "restarts", stack)
        before.beat()
        old = before.database.incarnation
        after = Node(server.url, "restarts", stack)
        after.beat()
        server.execute("DELETE FROM nodes WHERE incarnation = %s", after.database.incarnation)
        server.execute("UPDATE nodes SET state = 'up' WHERE incarnation = %s", old)
        after.beat()
        assert not after.left
        after.beat()
        assert after.membership.fence.may_serve()


@pytest.mark.parametrize("is_reopened", [True, False])
def test_a_loss_is_suspected_after_a_reconnection_or_a_sign_of_life_that_was_forgotten(
    server: Postgres, pair: tuple[Node, Node], *, is_reopened: bool
) -> None:
    one, _ = pair
    one.beat()
    before = one.database.losses
    one.beat()
    assert one.database.losses == before
    if is_reopened:
        end_connections(server)
    else:
        server.execute("UPDATE nodes SET beat = beat - 1 WHERE incarnation = %s", one.database.incarnation)
    one.beat()
    assert one.database.losses > before
    assert one.database.may_lack_rows


def test_what_the_database_may_have_lost_of_a_session_is_written_again(
    server: Postgres, pair: tuple[Node, Node]
) -> None:
    one, two = pair
    session = one.create("changed", "k")
    written = server.execute("SELECT key, revision, document FROM sessions")
    server.execute("UPDATE sessions SET key = NULL, revision = 0, document = '{}'")
    assert two.ownership.locate(None, "k") is None
    one.repository.write_again(session, SavedState("https://x.example/"))
    one.flush()
    assert server.execute("SELECT key, revision, document FROM sessions") == written
    (state,) = server.execute("SELECT state FROM states")
    assert "x.example" in str(state)
    # What has ended stays so.
    one.repository.forget(session)
    one.repository.write_again(session, None)
    one.flush()
    assert server.execute("SELECT session_id FROM sessions") == []
    one.repository.write_again(session, None)
    assert not one.repository._writer.look(bool)


def test_a_key_that_another_session_got_when_the_database_had_forgotten_it_blocks_no_writes(
    server: Postgres, pair: tuple[Node, Node]
) -> None:
    one, two = pair
    forgotten, other = one.create("forgotten", "k"), one.create("other")
    server.execute("UPDATE sessions SET key = NULL WHERE key = 'k'")
    two.create("newer", "k")
    one.registry.release(forgotten)
    one.repository.write_again(forgotten, None)
    one.repository.save_state(other, SavedState("https://x.example/"))
    one.flush()
    # All the rest is written, and the session that has lost its key to another one ends.
    assert server.execute("SELECT session_id FROM states") == [("other",)]
    assert not one.repository._writer.look(bool)
    one.beat()
    assert one.ready("forgotten") is None
    assert one.ready("other") is not None
    assert two.ready("newer") is not None
    found = two.ownership.locate(None, "k")
    assert found is not None
    assert found.session_id == "newer"
