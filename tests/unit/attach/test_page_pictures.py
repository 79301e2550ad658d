"""Pictures of a page, as Chrome sends them."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from drover.attach.page_connection import PageConnection
from drover.attach.page_pictures import Pictures


class SilentPage:
    """A page that takes every command and sends no picture."""

    async def post(self, method: str, **parameters: object) -> None:
        """Take a command."""


@pytest.mark.parametrize("turns", range(5))
def test_who_waits_for_a_picture_can_be_cancelled_in_the_moment_in_which_a_new_document_is_told(
    turns: int,
) -> None:
    async def cancelled() -> bool:
        pictures = Pictures(cast("PageConnection", SilentPage()), 0.0)
        await pictures.start()
        waiting = asyncio.create_task(pictures.newest())
        for _ in range(3):
            await asyncio.sleep(0)
        pictures.expect()
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        waiting.cancel()
        return bool(done)

    assert asyncio.run(cancelled())
