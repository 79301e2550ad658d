"""The endpoint to see and use a session by hand: pictures and input over one WebSocket.

Everything goes through DevTools connections of its own, so no running command is disturbed. To watch does
not count as activity and never triggers a recovery; to use the session does.
"""

from __future__ import annotations

import re

from drover.api.descriptions import socket
from drover.api.validation import validated
from drover.api.view_messages import MAX_NAME, ViewQuery
from drover.attach.router import Route
from drover.attach.view_client import ViewClient
from drover.attach.view_control import Control, Viewer
from drover.attach.viewed_session import SessionAccess, ViewedSession
from drover.core.errors import SessionNotFound
from drover.net.access import user_name
from drover.net.asgi import Receive, Scope, Send, header, query

DESCRIPTIONS = (
    socket(
        "/sessions/{session_id}/view",
        "See and use a session by hand",
        "A WebSocket: JPEG frames of the page in the foreground as binary messages, and the page's address, "
        "dialogs and who is in control as JSON; the client sends mouse, keys, text and navigation. Watching "
        "does not count as activity; a client that has sent input within a minute makes the session in use.",
        (SessionNotFound,),
        query=ViewQuery,
        is_stream=True,
    ),
)


class ViewSockets:
    """The endpoint; all of it runs on one event loop."""

    def __init__(self, access: SessionAccess) -> None:
        self._access = access
        self._controls: dict[str, tuple[Control, set[Viewer]]] = {}

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("websocket", re.compile(r"/sessions/(?P<session_id>[^/]+)/view/?"), self._view)]

    async def _view(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        birth = self._access.driver_access.session(session_id).birth
        wanted = validated(ViewQuery, query(scope), "parameter", strict=False)
        session = ViewedSession(session_id, self._access)
        control, viewers = self._controls.setdefault(birth, (Control(session.use), set()))
        viewer = Viewer(wanted.name or user_name(header(scope, b"authorization"))[:MAX_NAME])
        # While there is a viewer, also one that is still connecting, all of them share one control.
        viewers.add(viewer)
        try:
            await receive()
            await send({"type": "websocket.accept"})
            await ViewClient(session, control, viewer, send, view_only=wanted.view_only).run(receive)
        finally:
            viewers.discard(viewer)
            if not viewers:
                self._controls.pop(birth, None)
