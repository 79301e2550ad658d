"""Endpoints for drivers and streams, in plain ASGI: WebDriver, DevTools, BiDi, live view, events."""
