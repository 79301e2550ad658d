"""The tables in PostgreSQL, as a numbered list of migrations that only add.

The incarnation of a node is one life of it as a member. Epochs come from one sequence for all sessions: a row
that is deleted and inserted again never has an epoch a second time.
"""

from __future__ import annotations

from typing import Final

from drover.core.errors import StartRefused
from drover.storage.postgres.link import Connection

_LOCK: Final = 0x44525652
"""The number of the advisory lock under which one node at a time migrates."""
AHEAD: Final = 1
"""How many versions the tables may be ahead of this program: those of a rolling upgrade."""

MIGRATIONS: Final = (
    """
    CREATE SEQUENCE epochs;
    CREATE TABLE nodes (
        incarnation uuid PRIMARY KEY,
        name text NOT NULL,
        data_id text NOT NULL,
        url text NOT NULL,
        version text NOT NULL,
        beat bigint NOT NULL DEFAULT 0,
        state text NOT NULL DEFAULT 'up' CHECK (state IN ('up', 'draining', 'lost', 'left')),
        free integer NOT NULL DEFAULT 0,
        evictable integer NOT NULL DEFAULT 0,
        sessions integer NOT NULL DEFAULT 0,
        max_sessions integer NOT NULL,
        emergency bigint NOT NULL DEFAULT 0,
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50);
    CREATE UNIQUE INDEX nodes_living_name ON nodes (name) WHERE state IN ('up', 'draining');
    CREATE TABLE sessions (
        session_id text PRIMARY KEY,
        key text UNIQUE,
        secret_hash text UNIQUE,
        incarnation uuid REFERENCES nodes,
        epoch bigint NOT NULL DEFAULT nextval('epochs'),
        revision bigint NOT NULL DEFAULT 0,
        document text NOT NULL,
        summary text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        lease_until timestamptz,
        idle_s double precision NOT NULL
    ) WITH (fillfactor = 70);
    CREATE INDEX sessions_incarnation ON sessions (incarnation);
    CREATE INDEX sessions_age ON sessions (created_at, session_id);
    CREATE TABLE states (
        session_id text PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
        epoch bigint NOT NULL,
        state text NOT NULL,
        taken_at timestamptz NOT NULL
    );
    CREATE TABLE kept (
        key text PRIMARY KEY,
        epoch bigint NOT NULL,
        state text NOT NULL,
        taken_at timestamptz NOT NULL
    );
    """,
    """
    ALTER TABLE nodes ADD COLUMN memory_available_mb integer;
    ALTER TABLE sessions ADD COLUMN described bigint NOT NULL DEFAULT 0;
    """,
)

_CLUSTER: Final = """
    CREATE TABLE IF NOT EXISTS cluster (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        version integer NOT NULL DEFAULT 0,
        emergency bigint NOT NULL DEFAULT 0
    );
    INSERT INTO cluster DEFAULT VALUES ON CONFLICT DO NOTHING;
"""


def migrate(connection: Connection) -> None:
    """Create the tables, or add what earlier versions did not have; all of it or nothing.

    Raises:
        StartRefused: The tables are of a much newer version.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    connection.execute(_CLUSTER)
    found = connection.execute("SELECT version FROM cluster").fetchone()
    version = found[0] if found else 0
    if version > len(MIGRATIONS) + AHEAD:
        raise StartRefused(
            f"The tables at DROVER_DATABASE_URL have version {version}, and this program knows "
            f"{len(MIGRATIONS)}: use a newer version of Drover"
        )
    for migration in MIGRATIONS[version:]:
        connection.execute(migration)
    connection.execute("UPDATE cluster SET version = greatest(version, %s)", [len(MIGRATIONS)])
