"""Pinning and unpinning the sessions that are selected in the list."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.admin.sessions import changelist, pinning
from sessions_app.models import BrowserSession, LimitedNamespace
from tests.clients import LIST, page_at, page_of
from tests.factories import OLD, make_session, make_sessions, plan

pytestmark = pytest.mark.django_db


def pinned() -> set[str]:
    return set(BrowserSession.objects.filter(is_pinned=True).values_list("name", flat=True))


def act(client: Client, action: str, *ids: int, query: str = "", across: bool = False) -> str:
    data = {"action": action, "index": "0", "select_across": str(int(across)), "_selected_action": ids}
    return client.post(f"{LIST}?{query}", data, follow=True).content.decode()


def test_pinning_and_unpinning_selected_sessions_is_recorded_in_their_history(as_operator: Client) -> None:
    one, two, three = (make_session(name) for name in ("one", "two", "three"))
    assert "2 sessions were pinned." in act(as_operator, "pin_selected", one.pk, two.pk)
    assert pinned() == {"one", "two"}
    html = act(as_operator, "pin_selected", two.pk, three.pk)
    assert "1 session was pinned. 1 was already pinned" in html
    assert LogEntry.objects.count() == 3
    page = page_at(as_operator, page_of(one))
    assert any("Pinned" in row and "operator" in row for row in page.rows)
    assert "2 sessions were unpinned." in act(as_operator, "unpin_selected", one.pk, two.pk)
    assert pinned() == {"three"}


def test_existing_plans_skip_sessions_that_were_pinned(as_operator: Client) -> None:
    session = make_session("old", **OLD)
    run = plan(expired=True)
    act(as_operator, "pin_selected", session.pk)
    act(as_operator, "unpin_selected", session.pk)
    from sessions_app.cleanup import run_cleanup

    assert run_cleanup(run).skipped_count == 1


def test_pinning_all_matches_excludes_other_namespaces(as_operator: Client, operator: User) -> None:
    make_sessions(120)
    make_session("other", namespace="bank")
    make_session("hidden", namespace="secret")
    LimitedNamespace.objects.create(namespace="secret")
    first = BrowserSession.objects.filter(namespace="shop").latest("pk")
    act(as_operator, "pin_selected", first.pk, query="namespace=shop", across=True)
    assert len(pinned()) == 120
    act(as_operator, "pin_selected", first.pk, across=True)
    assert len(pinned()) == 121


def test_the_number_is_limited(as_operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelist, "SELECTION_LIMIT", 2)
    make_sessions(3)
    first = BrowserSession.objects.latest("pk")
    assert "Nothing was pinned: at most 2 sessions" in act(as_operator, "pin_selected", first.pk, across=True)
    assert pinned() == set()


def test_many_pins_change_in_short_transactions(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "CHUNK_SIZE", 2)
    ids = [make_session(f"s{number}", is_pinned=number == 0).pk for number in range(5)]
    log_actions = LogEntry.objects.log_actions

    def fail_at_the_third(user_id: int, changed: list[Any], *args: Any, **kwargs: Any) -> Any:
        if changed[0].name == "s4":
            raise RuntimeError("killed")
        return log_actions(user_id, changed, *args, **kwargs)

    monkeypatch.setattr(LogEntry.objects, "log_actions", fail_at_the_third)
    with pytest.raises(RuntimeError, match="killed"):
        pinning.set_pins(operator, ids, is_pinned=True)
    assert pinned() == {"s0", "s1", "s2", "s3"}
    assert LogEntry.objects.count() == 3
    monkeypatch.undo()
    assert pinning.set_pins(operator, ids, is_pinned=True) == 1
    assert len(pinned()) == 5


def test_the_button_on_a_page_logs_only_changes(as_operator: Client) -> None:
    session = make_session("one")
    for _ in range(2):
        as_operator.post(f"{LIST}{session.pk}/pin/", {"pin": "1"})
    assert pinned() == {"one"}
    assert LogEntry.objects.count() == 1


def test_viewers_have_no_buttons_for_pinning(as_viewer: Client) -> None:
    session = make_session("one")
    assert 'value="pin_selected"' not in as_viewer.get(LIST).content.decode()
    act(as_viewer, "pin_selected", session.pk)
    assert pinned() == set()
