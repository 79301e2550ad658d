"""The session database of several machines in PostgreSQL; only imported if `DROVER_DATABASE_URL` is set."""
