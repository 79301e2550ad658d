"""Validation of requested capabilities, Chrome switches and preferences."""
