"""The stored results of probes, with real servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from sessions_app.browsers.probe import Liveness
from sessions_app.liveness import Browser, browser_of, probe_all, targets
from sessions_app.liveness.record import GONE_AFTER, digest_of
from sessions_app.models import BrowserSession, Probe, SessionEvent
from sessions_app.models.clock import database_now
from sessions_app.session.browser_states import BrowserState
from tests.clients import run
from tests.factories import make_session, rewrite
from tests.fake_browser import SAVED, served
from tests.fake_browser import Browser as Server

pytestmark = pytest.mark.django_db
MINUTES = timedelta(minutes=1)


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that refuses connections, and that no other program gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def probe_sessions() -> dict[str, Browser]:
    """Probe all sessions; return the states of their browsers."""
    probe_all(targets(BrowserSession.objects.order_by("pk"), ("here",)))
    return known()


def known() -> dict[str, Browser]:
    return {one.name: browser_of(one) for one in BrowserSession.objects.select_related("probe")}


def date_back(by: timedelta) -> None:
    """Move all earlier probes into the past."""
    Probe.objects.update(failing_since=F("failing_since") - by, probed_at=F("probed_at") - by)


@contextmanager
def client_of(server: Server) -> Iterator[None]:
    with socket.create_connection(("127.0.0.1", server.server_port)):
        yield


def test_each_kind_of_answer_has_a_code(server: Server, free_port: int) -> None:
    make_session("alive", cdp_url=server.endpoint)
    make_session("replaced", cdp_url=server.endpoint.replace(SAVED, "another"))
    make_session("dead", cdp_url=f"ws://127.0.0.1:{free_port}/devtools/browser/x")
    make_session("far", cdp_url="ws://grid.example:9222/devtools/browser/x")
    make_session("odd", cdp_url="ftp://127.0.0.1/")
    make_session("none", cdp_url="")
    make_session("fox", cdp_url=server.endpoint, browser_type="firefox")
    found = probe_sessions()
    assert {name: one.liveness.value for name, one in found.items()} == {
        "alive": "alive",
        "replaced": "replaced",
        "dead": "unreachable",
        "far": "not_allowed",
        "odd": "unknown",
        "none": "unknown",
        "fox": "unknown",
    }
    assert found["odd"].reason == "invalid_endpoint"
    assert all(one.probed_at for one in found.values())
    assert [name for name, one in found.items() if one.is_gone] == []


def test_an_endpoint_with_a_login_is_unknown(server: Server) -> None:
    server.status = 401
    make_session("closed", cdp_url=server.endpoint)
    assert probe_sessions()["closed"].reason == "login_required"
    assert known()["closed"].liveness is Liveness.UNKNOWN


def test_a_browser_is_gone_after_two_failed_probes_ten_minutes_apart(free_port: int) -> None:
    make_session("dead", cdp_url=f"ws://127.0.0.1:{free_port}/devtools/browser/x")
    assert not probe_sessions()["dead"].is_gone
    date_back(9 * MINUTES)
    assert not probe_sessions()["dead"].is_gone, "the probes are less than ten minutes apart"
    date_back(MINUTES)
    found = probe_sessions()["dead"]
    assert found.is_gone
    assert found.state is BrowserState.GONE
    assert [event.code for event in SessionEvent.objects.all()] == ["gone"]
    probe_sessions()
    assert SessionEvent.objects.count() == 1, "the event is recorded once"


def test_a_browser_that_ends_right_after_a_probe_is_gone_within_two_intervals(
    server: Server, settings: Any
) -> None:
    make_session("one", cdp_url=server.endpoint)
    interval = timedelta(seconds=settings.RAPTOR_PROBE_SECONDS)
    waits = []
    for browser_id in (SAVED, "another"):
        server.browser_id = browser_id
        probe_sessions()
        probe = Probe.objects.get()
        assert probe.probed_at is not None
        waits.append(probe.due_at - probe.probed_at)
    # Each probe can be a minute late, because the schedule has one tick a minute.
    assert sum(waits, 2 * MINUTES) <= 2 * interval
    assert waits[1] >= GONE_AFTER


def test_a_browser_that_answers_in_between_is_not_gone(server: Server) -> None:
    make_session("one", cdp_url=server.endpoint)
    server.browser_id = "another"
    probe_sessions()
    date_back(20 * MINUTES)
    server.browser_id = SAVED
    assert probe_sessions()["one"].state is BrowserState.ALIVE
    server.browser_id = "another"
    assert probe_sessions()["one"].state is BrowserState.UNKNOWN


def test_a_session_that_is_saved_again_is_not_gone(free_port: int, server: Server) -> None:
    session = make_session("dead", cdp_url=f"ws://127.0.0.1:{free_port}/devtools/browser/x")
    probe_sessions()
    date_back(20 * MINUTES)
    assert probe_sessions()["dead"].is_gone
    rewrite(BrowserSession.objects.filter(pk=session.pk), cdp_url=server.endpoint)
    assert known()["dead"].liveness is Liveness.UNKNOWN, "the probe was of another browser"
    assert probe_sessions()["dead"].state is BrowserState.ALIVE


def test_a_new_endpoint_starts_a_new_series_of_failed_probes(free_port: int) -> None:
    session = make_session("dead", cdp_url=f"ws://127.0.0.1:{free_port}/devtools/browser/x")
    probe_sessions()
    date_back(20 * MINUTES)
    rewrite(
        BrowserSession.objects.filter(pk=session.pk), cdp_url=f"ws://127.0.0.1:{free_port}/devtools/browser/y"
    )
    assert not probe_sessions()["dead"].is_gone


def test_a_probe_changes_neither_the_session_nor_a_plan(server: Server) -> None:
    from sessions_app.cleanup import plan_cleanup, run_cleanup
    from sessions_app.session.criteria import Criteria

    session = make_session("one", cdp_url=server.endpoint)
    session.refresh_from_db()
    run_of = plan_cleanup(Criteria(session_ids=(session.pk,)), trigger="admin")
    probe_sessions()
    assert BrowserSession.objects.get().updated_at == session.updated_at
    assert run_cleanup(run_of).removed_count == 1


def test_a_browser_with_a_client_is_in_use(server: Server) -> None:
    make_session("one", cdp_url=server.endpoint)
    assert probe_sessions()["one"].is_in_use is False
    with client_of(server):
        found = probe_sessions()["one"]
    assert (found.is_in_use, found.state) == (True, BrowserState.IN_USE)
    assert BrowserSession.objects.get().in_use_at is not None
    assert probe_sessions()["one"].state is BrowserState.ALIVE


def test_probes_of_the_panel_do_not_count_as_use(server: Server) -> None:
    make_session("one", cdp_url=server.endpoint)
    stop = threading.Event()

    def probe_repeatedly() -> None:
        from sessions_app.browsers.probe import probe

        while not stop.is_set():
            probe(server.endpoint, allowed_hosts=("127.0.0.1",))

    threads = [threading.Thread(target=probe_repeatedly) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert probe_sessions()["one"].is_in_use is False
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_session_that_is_removed_before_its_probe_stays_removed(server: Server) -> None:
    session = make_session("one", cdp_url=server.endpoint)
    waiting = list(targets(BrowserSession.objects.all(), ("here",)))
    BrowserSession.objects.filter(pk=session.pk)._raw_delete("default")
    assert probe_all(waiting).probed == 1
    assert not BrowserSession.objects.exists()


def test_the_command_reports_the_counts_as_json_and_as_text(server: Server, free_port: int) -> None:
    make_session("alive", cdp_url=server.endpoint)
    make_session("dead", cdp_url=f"ws://127.0.0.1:{free_port}/devtools/browser/x")
    make_session("other", namespace="other", cdp_url=server.endpoint)
    assert run("probe_sessions", "--format", "json", "--namespace", "shop").json == {
        "probed": 2,
        "alive": 1,
        "replaced": 0,
        "unreachable": 1,
        "not_allowed": 0,
        "unknown": 0,
        "in_use": 0,
    }
    assert run("probe_sessions").out == "3 browsers probed: 2 alive, 1 unreachable.\n"


def test_the_list_has_the_state_of_each_browser(server: Server, free_port: int) -> None:
    make_session("alive", cdp_url=server.endpoint)
    make_session("dead", cdp_url=f"ws://127.0.0.1:{free_port}/devtools/browser/x")
    with ExitStack() as stack:
        stack.enter_context(client_of(server))
        probe_sessions()
    alive, dead = run("list_sessions", "--format", "json").json["sessions"]
    assert (alive["browser"], alive["in_use"], dead["browser"], dead["in_use"]) == (
        "alive",
        True,
        "unreachable",
        None,
    )
    assert alive["probed_at"] <= database_now().isoformat()
    assert digest_of(server.endpoint) == Probe.objects.get(session__name="alive").endpoint
