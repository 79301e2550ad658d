"""Base modules that every other package may use: errors, events, deadlines, settings, logs, version."""
