from __future__ import annotations

import pytest

from drover.browser.dialogs import MAX_PROMPT, Dialog, DialogAnswers, is_accepted
from drover.browser.page_targets import MAX_URL, BrowserSignals, PageTarget, PageTargets


def opened(*target_ids: str) -> PageTargets:
    """Make pages that are attached; the session of each is its id with an S."""
    targets = PageTargets()
    for target_id in target_ids:
        announce(targets, target_id)
        targets.attached(target_id, f"S{target_id}")
    return targets


def announce(targets: PageTargets, target_id: str, **info: object) -> PageTarget | None:
    fields = {"targetId": target_id, "type": "page", "url": "http://a/"} | info
    return targets.handle("Target.targetCreated", {"targetInfo": fields}, None)


def ids(targets: PageTargets) -> list[str]:
    return [page.target_id for page in targets.pages]


def test_pages_are_known_from_their_announcement_to_their_end() -> None:
    targets = opened("P1", "P2")
    assert ids(targets) == ["P1", "P2"]
    targets.handle("Target.targetDestroyed", {"targetId": "P1"}, None)
    assert ids(targets) == ["P2"]
    assert not targets.signals.no_page_left
    targets.handle("Target.targetDestroyed", {"targetId": "P2"}, None)
    assert targets.signals == BrowserSignals(no_page_left=True)


@pytest.mark.parametrize("info", [{"type": "worker"}, {"type": "iframe"}, {"subtype": "prerender"}])
def test_only_pages_that_are_shown_count(info: dict[str, object]) -> None:
    targets = PageTargets()
    assert announce(targets, "P1", **info) is None
    assert targets.pages == ()


def test_a_page_loaded_in_advance_counts_once_it_is_shown() -> None:
    targets = PageTargets()
    announce(targets, "P1", subtype="prerender")
    info = {"targetId": "P1", "type": "page", "url": "http://a/"}
    targets.handle("Target.targetInfoChanged", {"targetInfo": info}, None)
    assert ids(targets) == ["P1"]


def test_pages_that_drover_opens_are_none_of_the_sessions_and_nor_are_their_popups() -> None:
    targets = opened("P1", "V1")
    targets.leave_out("V1")
    announce(targets, "V2", openerId="V1")
    announce(targets, "V3", openerId="V2")
    announce(targets, "P2", openerId="P1")
    announce(targets, "V1", url="http://b/")
    assert ids(targets) == ["P1", "P2"]
    assert targets.own == {"V1", "V2", "V3"}
    for target_id in targets.own:
        targets.handle("Target.targetDestroyed", {"targetId": target_id}, None)
    assert targets.own == set()
    assert ids(targets) == ["P1", "P2"]


def test_only_the_beginning_of_a_long_address_is_kept() -> None:
    targets = PageTargets()
    page = announce(targets, "P1", url="http://a/" + "x" * 1_000_000)
    assert page is not None
    assert len(page.url) == MAX_URL


def test_a_dialog_is_open_until_it_is_closed() -> None:
    targets = opened("P1", "P2")
    opening = {"type": "prompt", "defaultPrompt": "nobody", "message": "who?"}
    page = targets.handle("Page.javascriptDialogOpening", opening, "SP2")
    assert page == targets.page("P2")
    assert [page.dialog for page in targets.pages] == [None, Dialog("prompt", "nobody", "who?")]
    targets.handle("Page.javascriptDialogClosed", {"result": True}, "SP2")
    assert [page.dialog for page in targets.pages] == [None, None]


def test_a_long_message_and_suggestion_of_a_prompt_are_cut() -> None:
    targets = opened("P1")
    opening = {"type": "prompt", "defaultPrompt": "x" * 1_000_000, "message": "y" * 1_000_000}
    page = targets.handle("Page.javascriptDialogOpening", opening, "SP1")
    assert page is not None
    assert page.dialog == Dialog("prompt", "x" * MAX_PROMPT, "y" * MAX_PROMPT)


@pytest.mark.parametrize(
    ("event", "parameters", "session"),
    [
        ("Target.targetCrashed", {"targetId": "P1"}, None),
        ("Inspector.targetCrashed", {}, "SP1"),
    ],
)
def test_a_crash_ends_a_dialog(event: str, parameters: dict[str, str], session: str | None) -> None:
    targets = opened("P1", "P2")
    targets.handle("Page.javascriptDialogOpening", {"type": "alert"}, "SP1")
    targets.handle(event, parameters, session)
    assert targets.signals.crashed_pages == ("P1",)
    assert targets.pages[0].dialog is None


def test_a_crashed_page_lives_again_after_any_navigation() -> None:
    targets = opened("P1")
    targets.handle("Inspector.targetCrashed", {}, "SP1")
    targets.handle("Inspector.targetReloadedAfterCrash", {}, "SP1")
    assert targets.signals.crashed_pages == ()


def test_a_detached_page_is_not_watched_any_more() -> None:
    targets = opened("P1")
    targets.change("P1", watched=True)
    targets.handle("Target.detachedFromTarget", {"sessionId": "SP1"}, None)
    assert targets.session_of("P1") is None
    assert not targets.pages[0].watched


def test_events_of_unknown_sessions_and_pages_change_nothing() -> None:
    targets = opened("P1")
    before = targets.pages
    targets.handle("Page.javascriptDialogOpening", {"type": "alert"}, "S9")
    targets.handle("Target.detachedFromTarget", {"sessionId": "S9"}, None)
    targets.handle("Target.targetDestroyed", {"targetId": "P9"}, None)
    targets.handle("Target.targetCrashed", {"targetId": "P9"}, None)
    targets.handle("Page.frameNavigated", {}, "SP1")
    assert targets.pages == before


@pytest.mark.parametrize(
    ("behavior", "accepted"),
    [
        (None, set()),
        ("dismiss", set()),
        ("dismiss and notify", set()),
        ("ignore", set()),
        ("accept", {"alert", "confirm", "prompt"}),
        ("accept and notify", {"alert", "confirm", "prompt"}),
        ({"confirm": "accept"}, {"confirm"}),
        ({"default": "accept", "alert": "ignore"}, {"confirm", "prompt"}),
        ({"beforeUnload": "accept", "beforeunload": "accept"}, set()),
        ({"default": "accept"}, {"alert", "confirm", "prompt"}),
    ],
)
def test_a_dialog_is_accepted_only_if_the_session_asks_for_it(behavior: object, accepted: set[str]) -> None:
    kinds = ("alert", "confirm", "prompt", "beforeunload")
    assert {kind for kind in kinds if is_accepted(behavior, kind)} == accepted


def test_an_accepted_prompt_gets_the_text_that_it_suggests() -> None:
    answers = DialogAnswers(lambda kind: kind == "prompt")
    assert answers.answer(Dialog("prompt", "nobody")) == {"accept": True, "promptText": "nobody"}
    assert answers.answer(Dialog("confirm")) == {"accept": False}


def test_each_kind_of_dialog_is_named_once() -> None:
    answers = DialogAnswers(lambda _: False)
    for target_id, kind in (("P1", "alert"), ("P2", "confirm"), ("P1", "alert")):
        answers.note(target_id, Dialog(kind))
    assert answers.lost == ("dialog:alert", "dialog:confirm")
    assert [answers.count(target_id) for target_id in ("P1", "P2", "P3")] == [2, 1, 0]
