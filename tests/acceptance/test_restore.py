"""Browsers, tabs and helpers die or hang; the session continues with its client's state."""

import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill, network_process, renderers, stop
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import assert_saved_state, create_saved_state, wait_until_saved
from tests.acceptance.service import Json, Service, assert_no_trace, expect, folder_of, running
from tests.machine import is_living, run_concurrently, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and stops with POSIX signals")

CLIENTS: Final = 20
NAMES: Final = [
    "killed",
    "both",
    "stopped",
    "all_stopped",
    "windowless",
    "bare",
    "shared",
    "offline",
    "cut_off",
]


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service in which only a client's access recovers a session."""
    with running(health_timeout=1, watch_interval=0) as service:
        yield service


@pytest.fixture(scope="module")
def sessions_with_state(shared_service: Service, pages: Pages) -> Iterator[dict[str, Json]]:
    """Return sessions with client state that is older than two seconds."""

    def one(name: str) -> Json:
        session = shared_service.create(session_id=name)
        create_saved_state(session, pages)
        return session

    sessions = run_concurrently([partial(one, name) for name in NAMES])
    wait_until_saved()
    yield dict(zip(NAMES, sessions, strict=True))
    shared_service.close_all()


def harm_by_killing(session: Json) -> None:
    kill(session["browser"]["pid"])


def harm_by_killing_both(session: Json) -> None:
    kill(session["driver"]["pid"], session["browser"]["pid"])


def harm_by_stopping(session: Json) -> None:
    stop(session["browser"]["pid"])


def harm_by_stopping_both(session: Json) -> None:
    stop(session["driver"]["pid"], session["browser"]["pid"])


def harm_by_removing_the_profile(session: Json) -> None:
    shutil.rmtree(folder_of(session) / "p", ignore_errors=True)
    kill(session["browser"]["pid"])


def harm_by_closing_the_last_window(session: Json) -> None:
    Driver(session).close_window()


def recover(service: Service, before: Json, causes: set[str], methods: set[str]) -> Json:
    """Read a session and assert that the answer reports its one recovery; return the session object."""
    return assert_one_recovery(
        expect(service.get(f"/sessions/{before['session_id']}")), before, causes, methods
    )


def recover_when_detected(service: Service, before: Json, causes: set[str], methods: set[str]) -> Json:
    """Do as `recover`, but wait until Chrome has noticed a fault that it detects with a delay."""

    def recovered() -> Json | None:
        answer = expect(service.get(f"/sessions/{before['session_id']}"))
        return answer if answer["recovered"] else None

    answer = wait_until(recovered, "a recovery is reported")
    assert answer is not None
    return assert_one_recovery(answer, before, causes, methods)


def assert_one_recovery(answer: Json, before: Json, causes: set[str], methods: set[str]) -> Json:
    """Assert that an answer reports a session's one recovery; return the session object."""
    session: Json = answer["session"]
    assert (answer["created"], answer["recovered"]) == (False, True)
    assert (answer["recovery"]["cause"], answer["recovery"]["method"]) in {
        (cause, method) for cause in causes for method in methods
    }
    assert session["recoveries"] == before["recoveries"] + 1
    assert (session["state"], session["health"]["status"]) == ("ready", "healthy")
    return session


def test_the_first_page_of_a_browser_that_dies_at_once_is_opened_again(
    shared_service: Service, pages: Pages
) -> None:
    session = shared_service.create(session_id="young", url=pages.url("/form"))
    kill(session["browser"]["pid"])
    found = recover(shared_service, session, {"browser_gone"}, {"restored"})
    assert found["current_url"] == pages.url("/form")


@pytest.mark.exhaustive
def test_a_page_that_crashes_again_when_it_is_reloaded_is_left(shared_service: Service, pages: Pages) -> None:
    options = {"goog:chromeOptions": {"args": ["--js-flags=--max-old-space-size=32"]}}
    session = shared_service.create(session_id="greedy", url=pages.url("/form"), capabilities=options)
    with pytest.raises(AssertionError, match="tab crashed"):
        Driver(session).open(pages.url("/greedy"))
    found = recover_when_detected(shared_service, session, {"tab_crashed"}, {"reattached"})
    assert found["last_recovery"]["lost"] == [f"page:{pages.url('/greedy')}"]
    assert (found["browser"]["pid"], found["current_url"]) == (session["browser"]["pid"], "about:blank")


@pytest.mark.parametrize(
    ("name", "harm", "causes"),
    [
        ("killed", harm_by_killing, {"browser_gone"}),
        pytest.param(
            "both", harm_by_killing_both, {"browser_gone", "driver_gone"}, marks=pytest.mark.exhaustive
        ),
        ("stopped", harm_by_stopping, {"browser_hung"}),
        pytest.param(
            "all_stopped",
            harm_by_stopping_both,
            {"browser_hung", "driver_hung"},
            marks=pytest.mark.exhaustive,
        ),
        ("windowless", harm_by_closing_the_last_window, {"window_gone"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_new_browser_gets_all_state_of_the_old_one(
    shared_service: Service,
    sessions_with_state: dict[str, Json],
    pages: Pages,
    name: str,
    harm: Callable[[Json], None],
    causes: set[str],
) -> None:
    before = sessions_with_state[name]
    harm(before)
    after = recover(shared_service, before, causes, {"restored"})
    assert after["browser"]["pid"] != before["browser"]["pid"]
    assert not is_living(before["browser"]["pid"])
    assert not is_living(before["driver"]["pid"])
    assert after["current_url"] == pages.url("/form")
    assert_saved_state(after, pages)


def test_removing_the_profile_loses_only_unsaved_state(
    shared_service: Service, sessions_with_state: dict[str, Json], pages: Pages
) -> None:
    before = sessions_with_state["bare"]
    harm_by_removing_the_profile(before)
    after = recover(shared_service, before, {"browser_gone"}, {"restored", "recreated"})
    assert_saved_state(after, pages)


def test_restored_state_is_restored_again(
    shared_service: Service, sessions_with_state: dict[str, Json], pages: Pages
) -> None:
    before = shared_service.report(sessions_with_state["killed"]["session_id"])
    kill(before["browser"]["pid"])
    assert_saved_state(recover(shared_service, before, {"browser_gone"}, {"restored"}), pages)


@pytest.mark.parametrize(("name", "harm"), [("offline", kill), ("cut_off", stop)], ids=["killed", "stopped"])
def test_losing_the_network_process_keeps_the_browser_and_the_cookies(
    shared_service: Service,
    sessions_with_state: dict[str, Json],
    pages: Pages,
    name: str,
    harm: Callable[..., None],
) -> None:
    before = sessions_with_state[name]
    harm(*network_process(before))
    after = expect(shared_service.get(f"/sessions/{name}"))["session"]
    assert after["health"]["status"] == "healthy"
    assert after["browser"] == before["browser"]
    client = Driver(after)
    wait_until(lambda: can_open(client, pages.url("/form")), "the network is back")
    wait_until(lambda: len(client.cookies()) == 2, "the cookies are back")
    assert_saved_state(after, pages)


def can_open(client: Driver, url: str) -> bool:
    """Return whether a page can be loaded now."""
    try:
        client.open(url)
    except AssertionError:
        return False
    return bool(client.address() == url)


def test_twenty_clients_get_one_restored_browser(
    shared_service: Service, sessions_with_state: dict[str, Json], pages: Pages
) -> None:
    kill(sessions_with_state["shared"]["browser"]["pid"])
    call = partial(shared_service.post, "/sessions", json={"session_id": "shared"})
    answers = [expect(response) for response in run_concurrently([call] * CLIENTS)]
    assert len({answer["session"]["browser"]["pid"] for answer in answers}) == 1
    assert {answer["recovery"]["method"] for answer in answers if answer["recovered"]} == {"restored"}
    assert shared_service.report("shared")["recoveries"] == 1
    assert_saved_state(answers[0]["session"], pages)


@pytest.mark.exhaustive
@pytest.mark.parametrize("has_profile", [True, False])
def test_local_storage_of_every_origin_is_put_back_while_the_sites_are_down(
    service: Service, has_profile: bool
) -> None:
    before = service.create()
    client = Driver(before)
    with Pages() as first, Pages() as second, Pages() as front:
        origins = [site.url("").rstrip("/") for site in (first, second, front)]
        for origin in origins:
            client.open(f"{origin}/form")
            client.run(f"localStorage.token = '{origin}'; sessionStorage.tab = '{origin}'")
            wait_until_saved()
    kill(before["browser"]["pid"])
    if not has_profile:
        shutil.rmtree(folder_of(before) / "p", ignore_errors=True)
    answer = expect(service.get(f"/sessions/{before['session_id']}"))
    assert (answer["recovery"]["method"], answer["recovery"]["state_restored"]) == ("restored", True)
    # What Chrome's helpers write at their end may make a profile again.
    assert answer["recovery"]["lost"] in ([[]] if has_profile else [[], ["profile"]])
    client = Driver(answer["session"])
    for origin in origins:
        with Pages(int(origin.rsplit(":", 1)[1])):
            client.open(f"{origin}/form")
            assert client.run("return localStorage.token") == origin
            # Nothing stays that could write an old value over a newer one.
            client.run("localStorage.token = 'new'")
            client.open(f"{origin}/red")
            assert client.run("return localStorage.token") == "new"
            session_storage = client.run("return sessionStorage.getItem('tab')")
            assert session_storage == (origin if origin == origins[-1] else None)
    service.delete(f"/sessions/{before['session_id']}")


def test_at_most_the_last_two_seconds_are_lost(service: Service, pages: Pages) -> None:
    before = service.create(session_id="busy")
    client = Driver(before)
    client.open(pages.url("/form"))
    for number in range(2):
        client.run("localStorage.setItem('step', arguments[0])", str(number))
        wait_until_saved()
    client.run("localStorage.setItem('step', 'the last')")
    kill(before["browser"]["pid"])
    after = recover(service, before, {"browser_gone"}, {"restored"})
    assert Driver(after).run("return localStorage.getItem('step')") in {"1", "the last"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("switch", ["--incognito", "--guest"])
def test_the_loss_of_a_profile_in_memory_is_named(service: Service, pages: Pages, switch: str) -> None:
    capabilities = {"goog:chromeOptions": {"args": [switch]}}
    before = service.create(session_id="private", capabilities=capabilities)
    client = Driver(before)
    client.open(pages.url("/form"))
    client.add_cookie("login", "yes")
    wait_until_saved()
    kill(before["browser"]["pid"])
    answer = expect(service.get("/sessions/private"))
    assert answer["recovery"]["method"] == "restored"
    assert "profile" in answer["recovery"]["lost"]
    assert not answer["recovery"]["state_restored"]
    assert Driver(answer["session"]).run("return location.pathname") == "/form"


@pytest.mark.exhaustive
def test_a_page_without_a_site_is_opened_again(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<title>a file</title>", encoding="utf-8")
    for url, title in (("data:text/html,<title>no site</title><p>x", "no site"), (file.as_uri(), "a file")):
        before = service.create(session_id="local")
        Driver(before).open(url)
        wait_until_saved()
        kill(before["browser"]["pid"])
        after = recover(service, before, {"browser_gone"}, {"restored"})
        assert after["current_url"] == url
        assert Driver(after).run("return document.title") == title
        service.delete("/sessions/local")


MEMBERS: Final = ["__proto__", "constructor", "length", "key", "getItem", "setItem", "clear", "", "\u00fc"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("loses_profile", [False, True])
def test_storage_with_the_names_of_its_own_members_is_restored(
    service: Service, pages: Pages, loses_profile: bool
) -> None:
    before = service.create(session_id="members")
    client = Driver(before)
    client.open(pages.url("/form"))
    for area in ("localStorage", "sessionStorage"):
        client.run(f"for (const name of arguments[0]) {area}.setItem(name, 'of ' + name)", MEMBERS)
    wait_until_saved()
    (harm_by_removing_the_profile if loses_profile else harm_by_killing)(before)
    after = Driver(recover(service, before, {"browser_gone"}, {"restored"}))
    for area in ("localStorage", "sessionStorage"):
        found = after.run(f"return arguments[0].map(name => {area}.getItem(name))", MEMBERS)
        assert found == [f"of {name}" for name in MEMBERS]


@pytest.mark.parametrize("harm", [kill, stop])
def test_a_tab_whose_renderer_is_lost_is_recovered_in_the_same_browser(
    service: Service, pages: Pages, harm: Callable[..., None]
) -> None:
    before = service.create(session_id="snap")
    create_saved_state(before, pages)
    harm(*renderers(before))
    after = recover_when_detected(service, before, {"tab_crashed"}, {"reattached"})
    assert after["browser"] == before["browser"]
    assert_saved_state(after, pages)


def test_a_crashed_tab_does_not_affect_other_windows(service: Service, pages: Pages) -> None:
    before = service.create(session_id="snap")
    client = Driver(before)
    client.open(pages.url("/form"))
    first, untouched = client.windows()[0], renderers(before)
    client.switch_to(client.new_window())
    client.open(pages.url("/red").replace("127.0.0.1", "localhost"))
    client.switch_to(first)
    client.run("window.left = 42")
    kill(*(renderers(before) - untouched))
    handles = set(client.windows())
    answer = expect(service.get("/sessions/snap"))
    after = Driver(answer["session"])
    assert answer["session"]["browser"] == before["browser"]
    assert set(after.windows()) == handles
    after.switch_to(first)
    assert after.run("return window.left") == 42


def test_no_fault_leaves_a_stack_trace(shared_service: Service) -> None:
    assert_no_trace(shared_service)
