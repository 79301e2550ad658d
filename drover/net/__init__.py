"""HTTP helpers without a web framework: access control, addresses, listening sockets, ASGI."""
