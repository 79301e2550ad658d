"""REST API in Flask (parse a request, call the manager, return a response), and the dashboard."""
