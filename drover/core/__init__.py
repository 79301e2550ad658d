"""What every other package may use: errors, events, deadlines, settings, logs and the version."""
