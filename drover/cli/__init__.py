"""The command line: serve, cleanup, processes, doctor."""
