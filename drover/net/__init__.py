"""HTTP below any web framework: access control, addresses, listening sockets, ASGI helpers."""
