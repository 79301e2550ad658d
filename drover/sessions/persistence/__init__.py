"""Sessions on disk: records, repository, state saver, and the adoption plan."""
