"""REST API on Starlette (functions that take and return models), and the dashboard."""
