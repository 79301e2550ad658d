"""Endpoints for drivers and whatever stays open, in plain ASGI: WebDriver, DevTools, BiDi, live view, events."""
