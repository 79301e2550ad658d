"""Read for `doctor` what can be known of the Grid whose node relays to this service; nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from drover.cli.grid_checks import GridReadings, NodeReading, ProgramReading
from drover.core.settings import Settings
from drover.net.grid_node import GridNode, GridNodeFailed
from drover.processes.host.command_lines import java_programs

_NO_SESSION = "drover-doctor"
_HUBS = frozenset({"hub", "distributor"})
_DEFAULT_PORT = "5555"


def read_grid(settings: Settings) -> GridReadings | None:
    """Return everything that `grid_checks.judge_grid` needs; None if there is no Grid."""
    url = settings.grid_node_url
    if url is None:
        return None
    programs = [(folder, arguments) for folder, arguments in java_programs() if _is_grid(arguments)]
    port = str(urlsplit(url).port or _DEFAULT_PORT)
    nodes = [
        _read(*one)
        for one in programs
        if "node" in one[1] and (_value("port", *one) or _DEFAULT_PORT) == port
    ]
    hubs = [_read(*one) for one in programs if _HUBS & {*one[1]}]
    return GridReadings(
        url,
        _node(GridNode(url, settings.grid_secret.get_secret_value())),
        nodes[0] if nodes else None,
        hubs[0] if hubs else None,
        settings.max_sessions,
        settings.idle_timeout,
        settings.node_label,
    )


def _node(node: GridNode) -> NodeReading | str:
    try:
        status = node.status()
        slots = [slot["stereotype"] for slot in status["slots"]]
        reading = NodeReading(
            min(int(status["maxSessions"]), len(slots)),
            float(status["sessionTimeout"]) / 1000,
            float(status["heartbeatPeriod"]) / 1000,
            tuple(dict(one) for number, one in enumerate(slots) if one not in slots[:number]),
        )
    except GridNodeFailed as error:
        return str(error)
    except (LookupError, TypeError, ValueError) as error:
        return f"its status is not that of Selenium Grid 4 ({error!r})"
    try:
        # A session that does not exist: the answer says only whether the secret is right.
        node.free_slot(_NO_SESSION)
    except GridNodeFailed:
        return replace(reading, secret_refused=True)
    return reading


def _is_grid(arguments: Sequence[str]) -> bool:
    return any("selenium" in argument for argument in arguments)


def _read(folder: Path, arguments: Sequence[str]) -> ProgramReading:
    every = _value("healthcheck-interval", folder, arguments)
    return ProgramReading(
        _value("grid-url", folder, arguments), float(every) if every and every.isdigit() else None
    )


def _value(name: str, folder: Path, arguments: Sequence[str]) -> str | None:
    """Return the value of one of Grid's options, from a command line or from the file that it names."""
    given = _argument(f"--{name}", arguments)
    file = _argument("--config", arguments)
    if given is not None or file is None:
        return given
    text = ""
    with suppress(OSError, UnicodeDecodeError):
        text = (folder / file).read_text(encoding="utf-8")
    found = re.search(rf"^\s*{name}\s*=\s*\"?([^\"\n#]+)", text, re.MULTILINE)
    return found[1].strip() if found else None


def _argument(option: str, arguments: Sequence[str]) -> str | None:
    for number, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == option:
            return value or next(iter(arguments[number + 1 :]), None)
    return None
