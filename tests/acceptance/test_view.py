"""A session that is seen and used by hand, over the WebSocket."""

from __future__ import annotations

import base64
import sys
from functools import partial

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Service
from tests.acceptance.views import View, viewing
from tests.machine import run_both, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")

DRAWN = "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
WHERE_PRESSED = "return document.body.dataset.pressed"


@pytest.fixture(scope="module")
def job(shared_service: Service) -> Driver:
    """Return the session that is viewed."""
    return Driver(shared_service.create(session_id="job"))


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Yield the module's service; its session stays for the whole module."""
    return shared_service


def value_of(job: Driver, element: str) -> object:
    return job.run(f"return document.getElementById({element!r}).value")


def opened(job: Driver, view: View, url: str) -> None:
    """Open a page and wait until the viewer knows it, and Chrome has drawn it: it takes no input before."""
    job.open(url)
    job.run(DRAWN)
    view.wait_for("page", url=url)


def test_the_page_and_its_picture_come_first_and_follow_it(
    service: Service, job: Driver, pages: Pages
) -> None:
    job.open(pages.url("/hands"))
    with viewing(service, "job") as view:
        page = view.wait_for("page")
        size = job.run("return [innerWidth, innerHeight]")
        assert [page["width"], page["height"]] == size
        assert (page["url"], page["title"]) == (pages.url("/hands"), "Hands")
        assert view.wait_for_picture()
        opened(job, view, pages.url("/red"))
        first = job.windows()[0]
        job.switch_to(job.new_window())
        opened(job, view, pages.url("/form"))
        job.close_window()
        job.switch_to(first)
        view.wait_for("page", url=pages.url("/red"))


def test_characters_of_every_layout_are_typed_composed_and_pasted(
    service: Service, job: Driver, pages: Pages
) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        view.click(50, 25)
        view.press("é", "Digit2")
        view.press("ß", "KeyS", "Alt")
        view.press("@", "KeyQ", "Control", "Alt")
        view.press("A", "KeyA", "Shift")
        view.send("text", text="日本")
        wait_until(lambda: value_of(job, "text") == "éß@A日本", "the text was typed")
        view.press("ArrowLeft", "ArrowLeft")
        view.press("Backspace", "Backspace")
        wait_until(lambda: value_of(job, "text") == "éß@A本", "a character was deleted")
        view.press("a", "KeyA", "Meta")
        view.send("copy")
        assert view.wait_for("copied")["text"] == "éß@A本"
        view.send("text", text="pasted", pasted=True)
        wait_until(lambda: value_of(job, "text") == "pasted", "the selected text was replaced")
        view.press("z", "KeyZ", "Control")
        wait_until(lambda: value_of(job, "text") == "éß@A本", "that was undone")


def test_a_pasted_code_reaches_a_page_with_one_field_per_digit(
    service: Service, job: Driver, pages: Pages
) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/code"))
        view.press("Tab", "Tab")
        view.send("text", text="123", pasted=True)
        view.wait_for("page", title="123")


def test_text_is_selected_by_dragging_and_copied(service: Service, job: Driver, pages: Pages) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        view.send("mouse", action="down", x=11, y=222)
        view.send("mouse", action="move", x=100, y=222)
        view.send("mouse", action="move", x=300, y=222)
        view.send("mouse", action="up", x=300, y=222)
        view.send("copy")
        assert view.wait_for("copied")["text"].strip() == "some words here"
        view.click(80, 222)
        view.click(80, 222, clicks=2)
        view.send("copy")
        assert view.wait_for("copied")["text"].strip() == "words"


def test_an_element_is_dragged_to_another(service: Service, job: Driver, pages: Pages) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        wait_until(lambda: drag(view, job) == "dragged", "the element was dropped")


def drag(view: View, job: Driver) -> str:
    view.send("mouse", action="down", x=50, y=275)
    for x in range(60, 320, 20):
        view.send("mouse", action="move", x=x, y=275)
        job.run("return new Promise(requestAnimationFrame)")
    view.send("mouse", action="up", x=310, y=275)
    return str(job.run("return new Promise(done => setTimeout(() => done(document.title), 200))"))


def test_the_wheel_scrolls_and_a_press_arrives_where_it_is_seen(
    service: Service, job: Driver, pages: Pages
) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        view.wait_for_picture()
        view.send("mouse", action="wheel", x=300, y=100, dy=900)
        wait_until(lambda: job.run("return scrollY") == 900, "the page was scrolled")
        view.wait_for_picture()
        view.click(400.0, 20.0)
        wait_until(lambda: job.run(WHERE_PRESSED) == "400,20", "the press has arrived")
        view.click(50, 110)
        offered = view.wait_for("select")
        assert [option["text"] for option in offered["options"]] == ["near", "far"]
        view.send("select", index=1)
        wait_until(lambda: value_of(job, "far") == "far", "the option was chosen")


def test_the_options_of_a_list_are_offered_and_one_is_chosen(
    service: Service, job: Driver, pages: Pages
) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        job.run("document.getElementById('list').onchange = () => document.title = 'changed'")
        view.click(50, 75)
        offered = view.wait_for("select")["options"]
        assert [(one["text"], one["disabled"], one["selected"]) for one in offered] == [
            ("one", False, True),
            ("two", True, False),
            ("three", False, False),
        ]
        view.send("select", index=1)
        assert "cannot be chosen" in view.wait_for("error")["error"]
        view.click(50, 75)
        view.wait_for("select")
        view.send("select", index=2)
        view.wait_for("page", title="changed")
        assert value_of(job, "list") == "three"
        view.send("select", index=0)
        assert "No list" in view.wait_for("error")["error"]


def test_a_list_is_offered_although_no_picture_shows_yet_how_far_the_page_is_scrolled(
    service: Service, job: Driver, pages: Pages
) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        for y, place, texts in ((900, 110, ["near", "far"]), (0, 75, ["one", "two", "three"])):
            job.run(f"scrollTo(0, {y})")
            view.click(50, place)
            assert [option["text"] for option in view.wait_for("select")["options"]] == texts


def test_the_page_gets_files_from_the_viewer(service: Service, job: Driver, pages: Pages) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        view.send("control", take=True)
        view.wait_for("control", you=True)
        view.click(50, 125)
        assert view.wait_for("file_chooser")["multiple"] is False
        content = base64.b64encode(b"content").decode()
        view.send("files", files=[{"name": "../x", "content": content}])
        assert "plain file name" in view.wait_for("error")["error"]
        view.send("files", files=[{"name": "Übung.txt", "content": content}])
        read = "return document.getElementById('file').files[0]?.text()"
        wait_until(lambda: job.run(read) == "content", "the page has the file")
        view.send("files", files=[])
        assert "not asked" in view.wait_for("error")["error"]


def test_a_dialog_is_announced_and_answered(service: Service, job: Driver, pages: Pages) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/hands"))
        view.send("dialog", accept=True)
        assert "No dialog" in view.wait_for("error")["error"]
        view.click(50, 175)
        assert view.wait_for("dialog") == {
            "type": "dialog",
            "kind": "prompt",
            "message": "Who?",
            "default": "me",
        }
        # A viewer that comes later sees it as well, and can answer it.
        with viewing(service, "job") as later:
            later.wait_for("dialog", kind="prompt")
            assert later.wait_for_picture()
            later.send("dialog", accept=True, text="日本")
            later.wait_for("dialog_closed")
        view.wait_for("dialog_closed")
        view.wait_for("page", title="日本")


def test_navigation_by_hand_opens_only_web_pages(service: Service, job: Driver, pages: Pages) -> None:
    with viewing(service, "job") as view:
        opened(job, view, pages.url("/form"))
        view.send("navigate", url="file:///etc/passwd")
        assert "navigate.url" in view.wait_for("error", code="invalid_request")["error"]
        view.send("navigate", url=pages.url("/red"))
        view.wait_for("page", url=pages.url("/red"))
        view.send("back")
        view.wait_for("page", url=pages.url("/form"))
        view.send("forward")
        view.wait_for("page", url=pages.url("/red"))
        job.run("document.title = 'before the reload'")
        view.wait_for("page", title="before the reload")
        view.send("reload")
        view.wait_for("page", title="Red")
        view.send("forward")
        assert "no page to go forward to" in view.wait_for("error")["error"]
        assert job.address() == pages.url("/red")


def test_watching_is_no_use_of_the_session_and_input_is(service: Service, job: Driver) -> None:
    before = service.report("job")
    with viewing(service, "job", view_only=1) as watching, viewing(service, "job") as view:
        assert watching.wait_for_picture()
        assert view.wait_for_picture()
        view.wait_for("control", you=False, by=None)
        watching.send("text", text="x")
        assert "view_only" in watching.wait_for("error")["error"]
        during = service.report("job")
        assert (during["in_use"], during["last_used"]) == (False, before["last_used"])
        view.send("mouse", action="move", x=1, y=1)
        view.wait_for("control", you=True)
        assert service.report("job")["in_use"]
    wait_until(lambda: not service.report("job")["in_use"], "the session is not in use any more")


def test_one_viewer_at_a_time_is_in_control(service: Service, job: Driver) -> None:
    with viewing(service, "job", name="Anna") as anna, viewing(service, "job") as ben:
        anna.wait_for("page")
        anna.send("mouse", action="move", x=1, y=1)
        anna.wait_for("control", you=True, by="Anna")
        ben.wait_for("control", you=False, by="Anna")
        ben.send("control", take=True)
        ben.wait_for("control", you=True)
        anna.wait_for("control", you=False, by="")
        anna.send("mouse", action="move", x=1, y=1)
        anna.wait_for("error", code="session_in_use")
        ben.send("control", take=False)
        anna.wait_for("control", by=None)


def test_what_is_no_message_is_refused_and_the_view_goes_on(service: Service, job: Driver) -> None:
    with viewing(service, "job") as view:
        view.send("telepathy")
        assert "telepathy" in view.wait_for("error", code="invalid_request")["error"]
        assert view.wait_for_picture()


def test_viewing_does_not_disturb_a_running_command(
    service: Service, job: Driver, pages: Pages, slow_page: Gate
) -> None:
    job.open(pages.url("/red"))

    def use() -> None:
        with slow_page.while_it_loads(), viewing(service, "job") as view:
            assert view.wait_for_picture()
            view.click(50, 50)
            view.wait_for("control", you=True)

    run_both(partial(job.open, slow_page.url), use)
    assert job.address() == slow_page.url


def test_a_view_lives_through_a_recovery(service: Service, pages: Pages) -> None:
    session = service.create(session_id="mortal", url=pages.url("/hands"))
    with viewing(service, "mortal") as watching, viewing(service, "mortal") as view:
        view.wait_for("page", url=pages.url("/hands"))
        view.click(50, 25)
        view.wait_for("control", you=True)
        view.pictures.clear()
        watching.pictures.clear()
        kill(session["browser"]["pid"])
        view.wait_for("stream", live=False)
        # The session is recovered because it is in use by hand.
        view.wait_for("stream", live=True)
        view.wait_for_picture()
        watching.wait_for("stream", live=False)
        watching.wait_for("stream", live=True)
        watching.wait_for_picture()
        job = Driver(service.listed()["mortal"])
        view.send("navigate", url=pages.url("/hands"))
        wait_until(lambda: job.address() == pages.url("/hands"), "the page is open again")
        wait_until(lambda: typed(view, job), "text arrives in the new browser")
        assert service.report("mortal")["recoveries"] == 1
        service.delete("/sessions/mortal")
        view.read_to_the_end()
        with pytest.raises(ConnectionClosed, match="The session has ended"):
            view.send("reload")


def typed(view: View, job: Driver) -> bool:
    view.click(50, 25)
    view.press("a", "KeyA", "Control")
    view.send("text", text="again")
    return value_of(job, "text") == "again"


def test_only_a_session_can_be_viewed_and_only_with_the_token(start_service: StartService) -> None:
    service = start_service(api_token="open sesame")
    bearer = {"Authorization": "Bearer open sesame"}
    service.post("/sessions", json={"session_id": "a"}, headers=bearer)
    for path, parameters, status in (
        ("a", {}, 401),
        ("unknown", {"token": "open sesame"}, 404),
        ("a", {"token": "open sesame", "view_only": "perhaps"}, 400),
    ):
        with pytest.raises(InvalidStatus) as refused, viewing(service, path, **parameters):
            pass
        assert refused.value.response.status_code == status
    with viewing(service, "a", token="open sesame") as view:
        assert view.wait_for_picture()


def test_an_open_view_does_not_keep_the_service_from_stopping(start_service: StartService) -> None:
    service = start_service()
    service.create(session_id="a")
    with viewing(service, "a") as view:
        view.wait_for("page")
        view.click(1, 1)
        view.wait_for("control", you=True)
        assert service.stop() == 0
