"""Descriptions of all routes, with the models that validate their requests.

Driver endpoints and streams are implemented in `drover/attach`, all other routes by the blueprints here.
"""

from __future__ import annotations

from drover.api.answers import (
    CleanupAnswer,
    CleanupIncompleteAnswer,
    DrainAnswer,
    EmergencyAnswer,
    EmergencyIncompleteAnswer,
    LeaseAnswer,
    LeaseEnded,
    ProcessList,
    ServiceHealth,
    ServiceNotReady,
    ServiceReady,
    SessionAnswer,
    SessionClosedAnswer,
    SessionList,
)
from drover.api.session_requests import (
    LEASE_TOKEN,
    CloseQuery,
    LeaseRequest,
    ListQuery,
    LookQuery,
    SessionRequest,
)
from drover.core.errors import (
    AtCapacity,
    BrowserUnavailable,
    CleanupIncomplete,
    ForbiddenCapability,
    KeyConflict,
    RecoveryFailed,
    SessionInUse,
    SessionNotFound,
    ShuttingDown,
    StorageUnavailable,
)
from drover.web.driver_routes import DRIVER_ROUTES
from drover.web.process_routes import CleanupQuery
from drover.web.route_descriptions import ResponseDescription, RouteDescription

SESSIONS, PROCESSES, SERVICE = "Sessions", "Processes", "Service"
_TOKEN = ((LEASE_TOKEN, "Token of the lease that the client holds"),)
_UNAVAILABLE = (BrowserUnavailable, RecoveryFailed, ShuttingDown, StorageUnavailable)

_OF_SESSIONS = (
    RouteDescription(
        "post",
        "/sessions",
        SESSIONS,
        "Get or create a session",
        "Finds the session with this id or key, checks it and recovers it if it is dead; creates it if there "
        "is none. Concurrent requests with the same id or key get the same browser. Every field is optional.",
        {
            201: ResponseDescription(
                "The session is new.",
                (SessionAnswer,),
                headers=(("Location", "Path of the session"),),
                example={"created": True, "recovered": False, "recovery": None},
            ),
            200: ResponseDescription("The session already existed.", (SessionAnswer,)),
        },
        errors=(ForbiddenCapability, SessionInUse, KeyConflict, CleanupIncomplete, AtCapacity, *_UNAVAILABLE),
        body=SessionRequest,
        short={"session_id": "first", "url": "https://example.org/"},
        headers=_TOKEN,
    ),
    RouteDescription(
        "get",
        "/sessions",
        SESSIONS,
        "List all sessions",
        "Returns what is currently known. It calls no browser and never waits for one. With `If-None-Match` "
        "and the `ETag` of an earlier response, 304 says that nothing has changed.",
        {
            200: ResponseDescription(
                "All sessions, or those that were asked for.",
                (SessionList,),
                headers=(("ETag", "Changes with every change of the list."),),
            ),
            304: ResponseDescription("Nothing has changed since the response with this `ETag`."),
        },
        query=ListQuery,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}",
        SESSIONS,
        "Check a session, and recover it if it is dead",
        "The same as a retrieval by POST, but it never creates a session and does not count as activity.",
        {200: ResponseDescription("The session.", (SessionAnswer,))},
        errors=(SessionNotFound, CleanupIncomplete, *_UNAVAILABLE),
        query=LookQuery,
    ),
    RouteDescription(
        "delete",
        "/sessions/{session_id}",
        SESSIONS,
        "Close a session",
        "Returns when all processes of the session were verified to be gone and its profile is removed. What "
        "was kept for its key is deleted too, unless `keep=true`; the end of a WebDriver session keeps it. "
        "If the deletion cannot be written to disk, the session stays listed as closing until it is.",
        {200: ResponseDescription("The session is closed.", (SessionClosedAnswer,))},
        errors=(SessionNotFound, CleanupIncomplete, ShuttingDown, StorageUnavailable),
        query=CloseQuery,
        confirm="This closes the browser and removes its profile.",
    ),
    RouteDescription(
        "post",
        "/sessions/{session_id}/lease",
        SESSIONS,
        "Lease a session, or renew its lease",
        "A leased session is not handed to any other client, not evicted, and not closed when idle. Send the "
        "token of the lease to renew it.",
        {200: ResponseDescription("The lease, with its token.", (LeaseAnswer,))},
        errors=(SessionNotFound, SessionInUse, StorageUnavailable),
        body=LeaseRequest,
        short={"ttl": 60},
        headers=_TOKEN,
    ),
    RouteDescription(
        "delete",
        "/sessions/{session_id}/lease",
        SESSIONS,
        "Release a lease",
        "Does nothing if the session is not leased.",
        {200: ResponseDescription("The session is not leased.", (LeaseEnded,))},
        errors=(SessionNotFound, SessionInUse, StorageUnavailable),
        headers=_TOKEN,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/screenshot",
        SESSIONS,
        "Take a screenshot of the page in the foreground",
        "Checks the session first, and recovers it if it is dead.",
        {200: ResponseDescription("The screenshot.", media_type="image/png")},
        errors=(SessionNotFound, CleanupIncomplete, *_UNAVAILABLE),
    ),
)

_OF_PROCESSES = (
    RouteDescription(
        "post",
        "/cleanup_orphaned_processes",
        PROCESSES,
        "End orphaned processes",
        "Ends the ChromeDriver and Chrome processes that belong to no session, spares everything in use, and "
        "removes orphaned session folders.",
        {
            200: ResponseDescription("No orphan is left.", (CleanupAnswer,)),
            500: ResponseDescription(
                "A process could not be ended; `failed` says why.", (CleanupIncompleteAnswer,)
            ),
        },
        query=CleanupQuery,
        confirm="This ends orphaned processes, including ChromeDrivers of other programs. Try dry_run first.",
    ),
    RouteDescription(
        "post",
        "/emergency_recovery",
        PROCESSES,
        "End every Chrome on the machine",
        "Last resort: ends ALL ChromeDriver and Chrome processes on the machine, including your own browser, "
        "and clears every session.",
        {
            200: ResponseDescription(
                "Every Chrome that the service is permitted to end has ended.", (EmergencyAnswer,)
            ),
            500: ResponseDescription(
                "A Chrome of the service's own user could not be ended, or the disk not be cleared.",
                (EmergencyIncompleteAnswer,),
            ),
        },
        confirm="This closes EVERY Chrome on this machine, including the one that shows this page.",
    ),
    RouteDescription(
        "get",
        "/processes",
        PROCESSES,
        "List every Chrome and ChromeDriver process",
        "Each with its verdict, which decides what a cleanup does, and the reason.",
        {200: ResponseDescription("The processes.", (ProcessList,))},
    ),
)

_OF_SERVICE = (
    RouteDescription(
        "get",
        "/health",
        SERVICE,
        "Check whether browsers can be handed out",
        "The only route that needs no token.",
        {
            200: ResponseDescription("The service is healthy.", (ServiceHealth,)),
            503: ResponseDescription(
                "The service is unhealthy; `reason` says why.",
                (ServiceHealth,),
                example={"success": False, "status": "unhealthy", "reason": "the service is stopping"},
            ),
        },
        is_open=True,
    ),
    RouteDescription(
        "get",
        "/ready",
        SERVICE,
        "Check whether new sessions are accepted",
        "For load balancers and readiness probes. 503 says nothing about the sessions that exist: in a drain "
        "they go on.",
        {
            200: ResponseDescription("New sessions are accepted.", (ServiceReady,)),
            503: ResponseDescription(
                "The service is draining or stopping.",
                (ServiceNotReady,),
                headers=(("Retry-After", "Seconds after which a retry may succeed"),),
            ),
        },
    ),
    RouteDescription(
        "post",
        "/drain",
        SERVICE,
        "Let the sessions end, then stop the service",
        "Accepts no new sessions from now on. A session with a key that was not used for 30 s is closed and "
        "its state is kept; the others go on until they end, at most for `DROVER_DRAIN_TIMEOUT`. Then the "
        "service stops. Returns immediately; a second call changes nothing.",
        {200: ResponseDescription("The drain has begun.", (DrainAnswer,))},
        confirm="This stops the service when its sessions have ended.",
    ),
    RouteDescription(
        "get",
        "/metrics",
        SERVICE,
        "Get metrics for Prometheus",
        "Counters since the start and current gauges. It calls no browser.",
        {200: ResponseDescription("Prometheus' text format.", media_type="text/plain")},
    ),
    RouteDescription(
        "get",
        "/openapi.json",
        SERVICE,
        "Get this document",
        "OpenAPI 3.1, generated from the models that validate requests.",
        {200: ResponseDescription("The document.", media_type="application/json")},
    ),
    RouteDescription(
        "get",
        "/docs",
        SERVICE,
        "Show this document as a page on which routes can be tried",
        "The page loads nothing from the internet.",
        {200: ResponseDescription("The page.", media_type="text/html")},
    ),
    RouteDescription(
        "get",
        "/",
        SERVICE,
        "Show the dashboard",
        "Live view of sessions, processes and recent events.",
        {200: ResponseDescription("The page.", media_type="text/html")},
    ),
)

ROUTES = (*_OF_SESSIONS, *_OF_PROCESSES, *_OF_SERVICE, *DRIVER_ROUTES)
