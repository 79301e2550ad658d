"""A service whose port is taken away ends with 75, and the next start goes on with its browsers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Pages
from tests.acceptance.service import APP, Service
from tests.machine import PATIENCE, is_living

TEMPORARY: Final = 75
GIVES_UP_S: Final = 60.0 * PATIENCE
# Once the file `take` exists, the listening sockets are closed, and another socket has each address.
LOSES_ITS_PORT: Final = f"""
import asyncio, pathlib, socket, sys
sys.path.insert(0, {str(APP.parent)!r})
from drover.cli.commands import main
from drover.server import serve

startup, takers, tasks = serve._Server.startup, [], []

async def take(server):
    while not pathlib.Path("take").exists():
        await asyncio.sleep(0.1)
    for one in server.servers:
        for family, address in [(own.family, own.getsockname()) for own in one.sockets]:
            one.close()
            takers.append(socket.socket(family))
            takers[-1].bind(address)

async def start(server, sockets=None):
    await startup(server, sockets)
    tasks.append(asyncio.create_task(take(server)))

serve._Server.startup = start
sys.exit(main())
"""


@pytest.mark.exhaustive
def test_a_service_that_loses_its_port_ends_with_75_and_the_next_start_adopts(
    folder: Path, pages: Pages
) -> None:
    service = Service(folder)
    usual = service.command
    service.command = [sys.executable, "-c", LOSES_ITS_PORT]
    try:
        before = service.start().create(session_id="session")
        Driver(before).open(pages.url("/form"))
        Driver(before).run("window.left = 42")
        (folder / "take").touch()
        assert service.wait_for_exit(GIVES_UP_S) == TEMPORARY, service.logs()
        service.expect_log([rf"ERROR: Port {service.port} of .+ ending with exit code 75; browsers .+"])
        assert is_living(before["browser"]["pid"])
        service.command = usual
        service.start()
        after = service.listed()["session"]
        assert after["browser"] == before["browser"]
        assert Driver(after).run("return window.left") == 42
        service.finish()
    finally:
        service.reap()
