"""Pure decisions of a cleanup: Chrome's process names, the process tree, verdicts."""
