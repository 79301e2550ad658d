"""REST in Flask: parse a request, call the manager, return an answer; and the dashboard."""
