"""The WebSocket protocol of the server: a handshake always gets an answer, and that of the service."""

from __future__ import annotations

from http import HTTPStatus

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from drover.core.errors import InvalidRequest
from drover.server.refusals import refuse


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which refuses some handshakes with plain text, and others not at all.

    h11 reads what websockets cannot read: a body, control characters, 200 headers, a line of 20 KiB.
    """

    def data_received(self, data: bytes) -> None:
        """Receive data; refuse a malformed handshake, and end a connection that does not await its answer."""
        if self.handshake_initiated and not self.handshake_complete:
            # uvicorn fails if it has to answer a frame here.
            self.transport.close()
            return
        super().data_received(data)
        error = self.conn.handshake_exc
        if error is not None and not self.transport.is_closing():
            reason = error.__cause__ or error
            refuse(
                self.transport, self.client, InvalidRequest(f"The WebSocket handshake is invalid: {reason}")
            )

    def handle_connect(self, event: Request) -> None:
        """Begin a handshake that is valid."""
        if self.conn.accept(event).status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            super().handle_connect(event)

    def shutdown(self) -> None:
        """Close the socket; a handshake is left to the router, which answers it before the server ends.

        uvicorn answers it with 500, although the service knows better.
        """
        if self.handshake_complete or self.close_sent:
            super().shutdown()
