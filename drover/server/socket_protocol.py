"""The WebSocket protocol of the server: at a stop, a handshake in progress is answered by the application."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which at a stop answers a handshake with 500, although the service knows better."""

    def shutdown(self) -> None:
        """Close the socket; a handshake is left to the router, which answers it before the server ends."""
        if self.handshake_complete or self.close_sent:
            super().shutdown()
