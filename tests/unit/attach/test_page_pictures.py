"""The pictures of a page: the newest one, and none that is left out for good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from drover.attach import page_pictures
from drover.attach.page_pictures import MOST_IN_FLIGHT, Pictures


class FakePage:
    """A page that records commands; each start of the screencast brings a picture if the test wants so."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, object]] = []
        self.pictures: Pictures | None = None

    async def post(self, method: str, **parameters: object) -> None:
        """Record a command."""
        self.commands.append((method, parameters.get("sessionId")))
        if method == "Page.startScreencast" and self.pictures is not None:
            self.pictures.handle(frame(99))

    def acknowledged(self) -> list[object]:
        return [number for method, number in self.commands if method == "Page.screencastFrameAck"]

    def starts(self) -> int:
        return [method for method, _ in self.commands].count("Page.startScreencast")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_pictures, "REFRESH_S", 0.01)
    monkeypatch.setattr(page_pictures, "START_S", 0.01)


@pytest.fixture
def page() -> FakePage:
    return FakePage()


def frame(number: int) -> dict[str, Any]:
    return {"sessionId": number}


def new(page: FakePage) -> Pictures:
    return Pictures(page, 0.0)  # type: ignore[arg-type]


def test_the_newest_picture_is_returned_and_all_are_acknowledged_at_the_next(page: FakePage) -> None:
    async def scenario() -> None:
        pictures = new(page)
        pictures.handle(frame(1))
        pictures.handle(frame(2))
        assert await pictures.newest() == frame(2)
        assert page.acknowledged() == []
        pictures.handle(frame(3))
        assert await pictures.newest() == frame(3)
        assert page.acknowledged() == [1, 2]

    asyncio.run(scenario())


def test_a_start_that_brings_no_picture_is_repeated(page: FakePage) -> None:
    async def scenario() -> None:
        pictures = new(page)
        await pictures.start()
        page.pictures = pictures
        assert await pictures.newest() == frame(99)
        assert page.starts() == 2

    asyncio.run(scenario())


def test_pictures_that_chrome_may_have_left_out_are_fetched_by_a_new_start(page: FakePage) -> None:
    async def scenario() -> None:
        pictures = page.pictures = new(page)
        for number in range(MOST_IN_FLIGHT):
            pictures.handle(frame(number))
        assert await pictures.newest() == frame(MOST_IN_FLIGHT - 1)
        assert await pictures.newest() == frame(99)
        assert page.starts() == 1

    asyncio.run(scenario())


def test_a_new_document_without_a_picture_leads_to_a_new_start(page: FakePage) -> None:
    async def scenario() -> None:
        pictures = page.pictures = new(page)
        pictures.handle(frame(1))
        await pictures.newest()
        waiting = asyncio.create_task(pictures.newest())
        await asyncio.sleep(0)
        pictures.expect()
        assert await waiting == frame(99)

    asyncio.run(scenario())


def test_without_a_change_nothing_is_sent(page: FakePage) -> None:
    async def scenario() -> None:
        pictures = page.pictures = new(page)
        pictures.handle(frame(1))
        await pictures.newest()
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            await asyncio.wait_for(pictures.newest(), 0.1)
        assert page.starts() == 0

    asyncio.run(scenario())
