"""Sessions: pool, lifecycle, persistence and background tasks."""
