"""The machine's processes: the process table, its readers per system, and termination."""
