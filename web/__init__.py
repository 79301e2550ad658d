"""The REST face: parse a request, call the manager, answer."""
