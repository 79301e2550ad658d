"""Data on disk: session folders and their files, the instance lock, the session database."""
