"""The HTTP contract as data: schemas of requests and responses. Imports no web framework."""
