"""Which process belongs to whom: Chrome's names, the process tree, verdicts. Pure functions."""
