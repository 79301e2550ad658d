"""Routes on processes: cleanup, emergency recovery, list."""

from __future__ import annotations

from typing import Literal

from drover.api.reports import (
    CleanupAnswer,
    CleanupIncompleteAnswer,
    EmergencyAnswer,
    EmergencyIncompleteAnswer,
    ProcessList,
    cleanup_answer,
    emergency_answer,
)
from drover.api.validation import Strict
from drover.web.calls import request_deadline, services
from drover.web.rest_routes import RestRoutes
from process_cleanup import Trigger

routes = RestRoutes("Processes")


class CleanupQuery(Strict):
    """The parameters of `POST /cleanup_orphaned_processes`."""

    dry_run: bool = False
    """Change nothing; only report what a cleanup would do."""


@routes.add(
    "post",
    "/cleanup_orphaned_processes",
    confirm="This ends orphaned processes, including ChromeDrivers of other programs. Try dry_run first.",
)
def cleanup_orphaned_processes(query: CleanupQuery) -> CleanupAnswer | CleanupIncompleteAnswer:
    """End orphaned processes.

    Ends the ChromeDriver and Chrome processes that belong to no session, spares everything in use, and
    removes orphaned session folders.
    """
    report = services().cleaner.cleanup(Trigger.PERSON, dry_run=query.dry_run, deadline=request_deadline())
    return cleanup_answer(report, services().active_sessions)


class EmergencyQuery(Strict):
    """The parameters of `POST /emergency_recovery`."""

    nodes: Literal["this", "all"] = "this"
    """`all`: of several machines, end every Chrome on each."""


@routes.add(
    "post",
    "/emergency_recovery",
    confirm="This closes EVERY Chrome on this machine, including the one that shows this page.",
)
def emergency_recovery(query: EmergencyQuery) -> EmergencyAnswer | EmergencyIncompleteAnswer:
    """End every Chrome on the machine.

    Last resort: ends ALL ChromeDriver and Chrome processes on the machine, including your own browser, and
    clears every session. Of several machines, `nodes=all` does so on each.
    """
    deadline, cluster = request_deadline(), services().cluster
    if cluster is None or query.nodes == "this":
        report = services().emergency.run(deadline)
        return emergency_answer(report, services().active_sessions)
    report, silent = cluster.order_emergency(deadline)
    return emergency_answer(report, services().active_sessions, silent)


@routes.add("get", "/processes")
def list_processes() -> ProcessList:
    """List every Chrome and ChromeDriver process.

    Each with its verdict, which decides what a cleanup does, and the reason.
    """
    return ProcessList.of(services().cleaner.survey())
