"""What clients reach: the routes of the driver and streaming endpoints, and the REST API."""

from __future__ import annotations

import time
from collections.abc import Callable

from drover.attach.attaching import Attaching
from drover.attach.bidi_sockets import BidiSockets
from drover.attach.devtools_http import DevToolsHttp
from drover.attach.devtools_sockets import DevToolsSockets
from drover.attach.direct_commands import DirectCommands
from drover.attach.event_stream import EventStream, StateProviders
from drover.attach.live import LiveView
from drover.attach.router import Route, Router
from drover.attach.view_sockets import ViewSockets
from drover.attach.viewed_session import SessionAccess
from drover.attach.webdriver import WebDriver
from drover.browser.capabilities.policy import Policy
from drover.core.settings import Settings
from drover.net import access
from drover.net.asgi import Application
from drover.net.request_log import RequestLog
from drover.net.request_threads import RequestThreads
from drover.server.session_parts import SessionParts
from drover.server.start_gate import StartGate
from drover.web.calls import Services
from drover.web.metrics import Metrics
from drover.web.openapi import REST_ROUTES, document
from drover.web.overview import Overview
from drover.web.rest_application import rest_application


class Endpoints:
    """The ASGI application, and what it needs while it answers.

    Args:
        port_trouble: Returns which address of the service refuses connections, or None.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: SessionParts,
        threads: RequestThreads,
        metrics: Metrics,
        port_trouble: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._threads = threads
        self._metrics = metrics
        self._port_trouble = port_trouble
        self._access_policy = access.access_policy(
            settings.host, settings.port, settings.own_hosts, settings.token
        )
        self._capability_policy = Policy(settings.allow_unsafe_capabilities, settings.node_label)
        overview = Overview(
            sessions.manager, sessions.registry, sessions.cleaner, settings.port, sessions.cluster
        )
        providers = StateProviders(overview.sessions, overview.processes, overview.capacity)
        self.stream = EventStream(providers, threads.reading)
        self.gate = StartGate()
        self._webdriver = WebDriver(
            sessions.manager,
            sessions.driver_access,
            threads,
            port=settings.port,
            policy=self._capability_policy,
            watch_s=settings.health_timeout,
            observe=metrics.observe_relay,
        )
        self.live = LiveView(
            sessions.driver_access,
            sessions.devtools,
            threads.commands,
            probe_timeout=settings.health_timeout,
        )

    def asgi(self) -> Application:
        """Return the ASGI application: driver and streaming endpoints; the REST API on threads."""
        router = Router(self.routes(), self._access_policy, self.rest(self.services()))
        cluster = self._sessions.cluster
        whole = router if cluster is None else cluster.around(router, self._access_policy, self._threads)
        return RequestLog(self.gate.around(whole))

    def direct_commands(self) -> DirectCommands:
        """Return what relays the usual commands."""
        cluster = self._sessions.cluster
        return DirectCommands(
            self._webdriver.queues,
            self._access_policy,
            lambda: self.gate.is_open,
            (lambda: None) if cluster is None else cluster.refusal,
            self._metrics.observe_relay,
        )

    def routes(self) -> list[Route]:
        """Return the routes of the driver and streaming endpoints."""
        manager, driver_access = self._sessions.manager, self._sessions.driver_access
        attaching = Attaching(manager, self._threads)
        settings = self._settings
        devtools_http = DevToolsHttp(
            attaching, driver_access, self._threads.waiting, settings.port, settings.health_timeout
        )
        hands_on = SessionAccess(
            attaching, driver_access, self._sessions.devtools, self._threads, settings.health_timeout
        )
        return [
            *self._webdriver.routes(),
            *DevToolsSockets(attaching, driver_access).routes(),
            *devtools_http.routes(),
            *BidiSockets(attaching, driver_access).routes(),
            *self.live.routes(),
            *ViewSockets(hands_on).routes(),
            *self.stream.routes(),
        ]

    def rest(self, services: Services) -> Application:
        """Return the application of the REST API and the dashboard."""
        return rest_application(REST_ROUTES, services, self._threads)

    def services(self) -> Services:
        """Return what the REST routes use."""
        return Services(
            self._settings,
            self._capability_policy,
            self._sessions.manager,
            self._sessions.registry,
            self._sessions.cleaner,
            self._sessions.emergency,
            self._sessions.drain,
            self._sessions.cluster,
            self._metrics,
            self._sessions.kept_logins,
            self._sessions.history,
            self._port_trouble,
            lambda: not self.gate.is_open,
            time.monotonic(),
            document,
        )
