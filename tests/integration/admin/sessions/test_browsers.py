"""Browsers in the list of sessions and on the page of a session: states and actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from sessions_app import liveness
from sessions_app.admin.sessions import browser_actions, changelist
from sessions_app.browsers.probe import Liveness
from sessions_app.liveness.record import Answer, record
from sessions_app.models import BrowserSession, Machine, Probe, QueuedTask, SessionEvent
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from tests.clients import LIST, RUNS, html_of, names, page_at, page_of, set_bounds
from tests.factories import OLD, Queued, make_session, plan
from tests.fake_browser import Browser, served

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[Browser]:
    with served() as server:
        yield server


def store_answer(session: BrowserSession, found: Liveness, **more: Any) -> None:
    record([Answer(session.pk, session.cdp_url, found, **more)], database_now())


def act(client: Client, action: str, *sessions: BrowserSession, **more: str) -> str:
    data = {"action": action, "_selected_action": [session.pk for session in sessions], **more}
    return client.post(LIST, data, follow=True).content.decode()


def test_a_session_whose_browser_is_gone_is_never_just_valid(as_viewer: Client) -> None:
    session = make_session("lonely")
    store_answer(session, Liveness.UNREACHABLE, is_closed=True)
    for address in (LIST, page_of(session)):
        assert html_of(as_viewer, address).count("Browser gone") >= 1
    assert "Browser gone" in act(as_viewer, "validate", session)


@pytest.mark.parametrize(
    ("found", "more", "choice", "badge"),
    [
        (Liveness.ALIVE, {}, "alive", "Alive"),
        (Liveness.ALIVE, {"is_in_use": True}, "in_use", "In use"),
        (Liveness.UNREACHABLE, {"is_closed": True}, "gone", "Browser gone"),
        (Liveness.REPLACED, {}, "unknown", "Replaced"),
    ],
)
def test_each_state_has_a_badge_and_a_filter(
    as_viewer: Client, found: Liveness, more: dict[str, Any], choice: str, badge: str
) -> None:
    store_answer(make_session("probed"), found, **more)
    for value in ("alive", "in_use", "gone", "unknown"):
        html = html_of(as_viewer, f"{LIST}?browser={value}")
        assert (">probed</a>" in html) is (value == choice)
        assert (f">{badge}</span>" in html) is (value == choice)


def test_the_page_shows_the_time_and_the_machine_of_the_probe(as_operator: Client) -> None:
    session = make_session("probed")
    store_answer(session, Liveness.ALIVE, memory_bytes=3 * 1024 * 1024)
    Probe.objects.update(machine="runner-1")
    html = html_of(as_operator, page_of(session))
    assert "3.0\N{NO-BREAK SPACE}MB of memory, machine runner-1" in html
    assert {"Probe now"} <= set(page_at(as_operator, page_of(session)).buttons)


def test_a_browser_of_this_machine_is_probed_at_once(as_operator: Client, server: Browser) -> None:
    session = make_session("here", cdp_url=server.endpoint)
    assert "1 browser probed: 1 alive" in act(as_operator, "probe_browsers", session)
    assert Probe.objects.get().result == "alive"


def test_selecting_all_matches_probes_them_beyond_the_list(
    as_operator: Client, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_bounds(monkeypatch, BOUND=2)
    monkeypatch.setattr(browser_actions, "REQUEST_LIMIT", 1)
    sessions = [make_session(namespace="shop") for _ in range(4)]
    make_session(namespace="bank")
    data = {
        "action": "probe_browsers",
        "index": "0",
        "select_across": "1",
        "_selected_action": sessions[0].pk,
    }
    response = as_operator.post(f"{LIST}?namespace=shop", data, follow=True)
    assert "The worker probes 4 browsers." in response.content.decode()
    monkeypatch.setattr(changelist, "SELECTION_LIMIT", 3)
    response = as_operator.post(f"{LIST}?namespace=shop", data, follow=True)
    assert "Nothing was probed: at most 3 sessions" in response.content.decode()


def test_a_browser_of_another_machine_is_probed_by_its_worker(as_root: Client, queued: Queued) -> None:
    for name in ("runner-1", "runner-2"):
        Machine.objects.create(name=name, heartbeat_at=database_now())
    session = make_session("there", metadata={"raptor_admin": {"machine": "runner-2"}})
    assert "The worker probes 1 browser." in act(as_root, "probe_browsers", session)
    assert QueuedTask.objects.get(task=Task.PROBE_SESSIONS).machine == "runner-2"
    html = as_root.post(f"{LIST}{session.pk}/inside/", follow=True).content.decode()
    assert "Its browser is on the machine runner-2" in html


@pytest.mark.parametrize(
    ("names", "sentences"),
    [
        (("one",), ("1 browser is still alive, 0 in use.", "does not close the browser.")),
        (("one", "two"), ("2 browsers are still alive, 0 in use.", "does not close the browsers.")),
    ],
)
def test_a_plan_counts_the_live_browsers(
    as_operator: Client, names: tuple[str, ...], sentences: tuple[str, ...]
) -> None:
    for name in names:
        store_answer(make_session(name, **OLD), Liveness.ALIVE)
    text = page_at(as_operator, f"{RUNS}{plan(expired=True).pk}/plan/").text
    assert all(sentence in text for sentence in sentences), text


def test_closing_browsers_in_use_requires_their_number(as_root: Client) -> None:
    sessions = [make_session(name) for name in ("one", "two")]
    store_answer(sessions[0], Liveness.ALIVE, is_in_use=True)
    html = act(as_root, "close_browsers", *sessions)
    assert "Close 2 browsers" in html
    assert "A client is connected to 1 of these browsers." in html
    shown = {"confirm": "1", "in_use": str(sessions[0].pk)}
    html = act(as_root, "close_browsers", *sessions, **shown)
    assert "Nothing was closed. Type 1 to confirm." in html
    html = act(as_root, "close_browsers", *sessions, **shown, number="1")
    assert "No browser was running." in html, "nothing listens at the made-up addresses"


def test_the_number_confirms_only_the_browsers_that_were_shown_as_in_use(as_root: Client) -> None:
    sessions = [make_session(name) for name in ("one", "two")]
    store_answer(sessions[0], Liveness.ALIVE, is_in_use=True)
    shown = {"confirm": "1", "in_use": str(sessions[0].pk), "number": "1"}
    store_answer(sessions[0], Liveness.ALIVE)
    store_answer(sessions[1], Liveness.ALIVE, is_in_use=True)
    html = act(as_root, "close_browsers", *sessions, **shown)
    assert "Nothing was closed. More browsers are in use now. Type 1 to confirm." in html


@pytest.mark.parametrize(("number", "is_confirmed"), [("1", True), ("", False)])
def test_a_browser_that_is_in_use_again_is_closed_only_if_it_was_confirmed(
    as_root: Client, monkeypatch: pytest.MonkeyPatch, number: str, is_confirmed: bool
) -> None:
    given: dict[str, Any] = {}

    def close_sessions(keys: list[int], **more: Any) -> list[Any]:
        given.update(more)
        return []

    monkeypatch.setattr(liveness, "close_sessions", close_sessions)
    session = make_session("one")
    act(as_root, "close_browsers", session, confirm="1", in_use=str(session.pk), number=number)
    assert given["confirmed"] == ({session.pk} if is_confirmed else set())


def test_no_browser_is_closed_after_the_time_limit_of_the_request(
    as_root: Client, server: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_actions, "REQUEST_SECONDS", 0.0)
    session = make_session("late", cdp_url=server.endpoint)
    html = act(as_root, "close_browsers", session, confirm="1")
    assert "The time limit passed before its browser was closed." in html
    assert server.requests == []


def test_a_browser_that_does_not_close_is_reported_with_the_reason(as_root: Client, server: Browser) -> None:
    session = make_session("stubborn", cdp_url=server.endpoint)
    html = act(as_root, "close_browsers", session, confirm="1")
    assert "A browser was not closed." in html
    event = SessionEvent.objects.get()
    assert (event.code, event.actor) == ("not_closed", "root")
    assert "Browser could not be closed" in html_of(as_root, page_of(session))


def test_viewers_can_neither_probe_nor_close_browsers(as_viewer: Client, server: Browser) -> None:
    session = make_session("here", cdp_url=server.endpoint)
    for name in ("probe", "close-browser", "inside"):
        assert as_viewer.post(f"{LIST}{session.pk}/{name}/").status_code == 403
    act(as_viewer, "probe_browsers", session)
    act(as_viewer, "close_browsers", session, confirm="1")
    assert server.requests == []
    assert as_viewer.get(f"{LIST}open-browser/").status_code == 403


def test_opening_a_browser_is_queued_for_the_worker_of_this_machine(
    as_root: Client, queued: Queued, settings: Any
) -> None:
    settings.RAPTOR_MACHINE = "here"
    address = f"{LIST}open-browser/"
    assert "This field is required" in as_root.post(address, {"namespace": "shop"}).content.decode()
    as_root.post(address, {"namespace": "shop", "name": "new", "url": ""})
    assert queued[-1] == (Task.OPEN_BROWSER, "shop", "new", "", "root")
    assert QueuedTask.objects.get().machine == "here"


def test_a_filter_by_browser_reads_few_rows_if_many_match(
    as_viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        store_answer(make_session(f"s{number}"), Liveness.ALIVE)
    set_bounds(monkeypatch, BOUND=6, READ_BOUND=2)
    assert len(names(html_of(as_viewer, f"{LIST}?browser=alive"))) == 6
    set_bounds(monkeypatch, BOUND=5, READ_BOUND=2)
    html = html_of(as_viewer, f"{LIST}?browser=alive")
    assert len(names(html)) == 2
    assert "Only the 2 most recently accessed sessions with a browser in that state were searched." in html
