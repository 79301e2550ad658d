"""Sessions on disk: records, repository, state saver, and the plan of an adoption."""
