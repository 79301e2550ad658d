"""Drover: Chrome sessions over HTTP that are kept alive and leave no processes or files behind."""
