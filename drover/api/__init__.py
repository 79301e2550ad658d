"""The contract as data: schemas of requests and answers. Imports no web framework."""
