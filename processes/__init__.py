"""The machine's processes: what runs, whose it is, and the only way to end it."""
