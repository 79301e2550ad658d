"""Drover: Chrome sessions over HTTP that are kept alive and leave nothing behind."""
