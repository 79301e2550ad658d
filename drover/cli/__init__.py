"""The command line: serve, cleanup, processes, keys, purge, doctor, drain."""
