"""Every route of the contract, in words and in the models that check what is sent.

Those of the drivers' doors and of the streams are answered in `attach/`, all others by the blueprints here.
"""

from __future__ import annotations

from drover.api.answers import (
    CleanupAnswer,
    CleanupIncompleteAnswer,
    EmergencyAnswer,
    EmergencyIncompleteAnswer,
    LeaseAnswer,
    LeaseEnded,
    ProcessList,
    ServiceHealth,
    SessionAnswer,
    SessionClosedAnswer,
    SessionList,
)
from drover.api.session_requests import LEASE_TOKEN, LeaseRequest, LookQuery, SessionRequest
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
)
from drover.web.driver_routes import DRIVER_ROUTES
from drover.web.process_routes import CleanupQuery
from drover.web.route_descriptions import ResponseDescription, RouteDescription

SESSIONS, PROCESSES, SERVICE = "Sessions", "Processes", "Service"
_TOKEN = ((LEASE_TOKEN, "The token of the lease that the caller already has"),)
_UNAVAILABLE = (BrowserUnavailable, RecoveryFailed, ShuttingDown)

_OF_SESSIONS = (
    RouteDescription(
        "post",
        "/sessions",
        SESSIONS,
        "Get or create a session",
        "Finds the session of this id or key, checks it and heals it where it is dead; creates it where "
        "there is none. Many callers at once with one id or key get one browser. Every field is optional.",
        {
            201: ResponseDescription(
                "The session is new.",
                (SessionAnswer,),
                headers=(("Location", "Where the session is"),),
                example={"created": True, "recovered": False, "recovery": None},
            ),
            200: ResponseDescription("The session was there.", (SessionAnswer,)),
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
        "What is known now: it asks no browser and waits for none.",
        {200: ResponseDescription("All sessions.", (SessionList,))},
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}",
        SESSIONS,
        "Check a session, and heal it where it is dead",
        "The same as a retrieval by POST, but it never creates, and it is no use of the session.",
        {200: ResponseDescription("The session.", (SessionAnswer,))},
        errors=(SessionNotFound, CleanupIncomplete, *_UNAVAILABLE),
        query=LookQuery,
    ),
    RouteDescription(
        "delete",
        "/sessions/{session_id}",
        SESSIONS,
        "Close a session",
        "Answers when every process of the session was seen gone and its profile is removed.",
        {200: ResponseDescription("It is closed.", (SessionClosedAnswer,))},
        errors=(SessionNotFound, CleanupIncomplete, ShuttingDown),
        confirm="Its browser is closed, and its profile is removed.",
    ),
    RouteDescription(
        "post",
        "/sessions/{session_id}/lease",
        SESSIONS,
        "Lease a session, or renew its lease",
        "A session that is leased is handed to nobody else, and neither evicted nor idled out. The same "
        "token renews.",
        {200: ResponseDescription("The lease, with its token.", (LeaseAnswer,))},
        errors=(SessionNotFound, SessionInUse),
        body=LeaseRequest,
        short={"ttl": 60},
        headers=_TOKEN,
    ),
    RouteDescription(
        "delete",
        "/sessions/{session_id}/lease",
        SESSIONS,
        "Give a lease back",
        "Does nothing where there is none.",
        {200: ResponseDescription("There is no lease any more.", (LeaseEnded,))},
        errors=(SessionNotFound, SessionInUse),
        headers=_TOKEN,
    ),
    RouteDescription(
        "get",
        "/sessions/{session_id}/screenshot",
        SESSIONS,
        "Draw the page in front",
        "Checks the session first, and heals it where it is dead.",
        {200: ResponseDescription("The page as it is.", media_type="image/png")},
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
        "removes the session folders of nobody.",
        {
            200: ResponseDescription("No orphan is left.", (CleanupAnswer,)),
            500: ResponseDescription(
                "Something could not be ended; `failed` says why.", (CleanupIncompleteAnswer,)
            ),
        },
        query=CleanupQuery,
        confirm="Orphaned processes are ended, other programs' ChromeDrivers included. Try dry_run first.",
    ),
    RouteDescription(
        "post",
        "/emergency_recovery",
        PROCESSES,
        "End every Chrome of the machine",
        "The last resort: ends ALL ChromeDriver and Chrome processes of the machine, your own browser "
        "included, and forgets every session.",
        {
            200: ResponseDescription("Every Chrome that we may end is gone.", (EmergencyAnswer,)),
            500: ResponseDescription("One of our own user survived.", (EmergencyIncompleteAnswer,)),
        },
        confirm="EVERY Chrome of this machine is closed, the one that shows this page included.",
    ),
    RouteDescription(
        "get",
        "/processes",
        PROCESSES,
        "List every Chrome and ChromeDriver process",
        "Each with the verdict of a cleanup, and the reason in words.",
        {200: ResponseDescription("The processes.", (ProcessList,))},
    ),
)

_OF_SERVICE = (
    RouteDescription(
        "get",
        "/health",
        SERVICE,
        "Tell whether browsers can be handed out",
        "The only route that needs no token.",
        {
            200: ResponseDescription("They can.", (ServiceHealth,)),
            503: ResponseDescription(
                "They cannot; `reason` says why.",
                (ServiceHealth,),
                example={"success": False, "status": "unhealthy", "reason": "the service is stopping"},
            ),
        },
        is_open=True,
    ),
    RouteDescription(
        "get",
        "/metrics",
        SERVICE,
        "Give what Prometheus scrapes",
        "Counters since the start, and gauges of this moment; it asks no browser.",
        {200: ResponseDescription("Prometheus' text format.", media_type="text/plain")},
    ),
    RouteDescription(
        "get",
        "/openapi.json",
        SERVICE,
        "Give this document",
        "OpenAPI 3.1, made of the models that check what is sent.",
        {200: ResponseDescription("The document.", media_type="application/json")},
    ),
    RouteDescription(
        "get",
        "/docs",
        SERVICE,
        "Show this document as a page, to try it",
        "The page needs nothing from the internet.",
        {200: ResponseDescription("The page.", media_type="text/html")},
    ),
    RouteDescription(
        "get",
        "/",
        SERVICE,
        "Show the dashboard",
        "Sessions, processes and what happened lately, live.",
        {200: ResponseDescription("The page.", media_type="text/html")},
    ),
)

ROUTES = (*_OF_SESSIONS, *_OF_PROCESSES, *_OF_SERVICE, *DRIVER_ROUTES)
