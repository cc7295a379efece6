"""The history on the page of a session, live or archived, and who sees which events."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from sessions_app.admin.formatting import NONE
from sessions_app.admin.sessions.history import MAX_EVENTS
from sessions_app.cleanup import restore_sessions, undo_cleanup
from sessions_app.models import BrowserSession, SessionEvent
from sessions_app.models.clock import database_now
from tests.clients import LIST
from tests.factories import OLD, make_session, swept

pytestmark = pytest.mark.django_db

CHANGED = "Last changed here"
ADDED = "Added to the panel"
ACCESSED = "Last accessed, according to its document"
CREATED = "Created, according to its document"
CRITERIA = "Criteria: expired (last accessed over 7 days ago)"
Rows = list[tuple[str, str, str]]


@pytest.fixture
def old(db: None) -> BrowserSession:
    """An expired session."""
    return make_session("old", **OLD)


def page_of(pk: int) -> str:
    is_live = BrowserSession.objects.filter(pk=pk).exists()
    return f"{LIST if is_live else '/admin/sessions_app/archivedsession/'}{pk}/change/"


def text_of(cell: str) -> str:
    return " ".join(html.unescape(strip_tags(cell.replace("<", " <"))).split())


def table_of(page: str) -> str:
    return page.split('<h2 id="history">')[1].split("</table>")[0]


def rows_of(page: str) -> Rows:
    """Return time, event and user of each row; blank without a user."""
    lines = re.findall(r"<tr>(.*?)</tr>", table_of(page).split("<tbody>")[1], re.DOTALL)
    cells = [[text_of(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", line, re.DOTALL)] for line in lines]
    return [(when, what, by.replace(NONE, "")) for when, what, by in cells]


def events(page: str) -> list[tuple[str, str]]:
    return [(what, by) for _, what, by in rows_of(page)]


def test_an_unchanged_session_shows_its_own_dates(see: Any, old: BrowserSession) -> None:
    lines = rows_of(see(page_of(old.pk)))
    assert [(what, by) for _, what, by in lines] == [(ADDED, ""), (CREATED, ""), (ACCESSED, "")]
    assert [when for when, _, _ in lines[1:]] == ["2026-11-20 09:00", "2026-10-01 12:00"]


def test_a_change_of_the_row_is_shown_unless_it_is_the_creation(see: Any, old: BrowserSession) -> None:
    changed_at = old.added_at + timedelta(minutes=5)
    BrowserSession.objects.filter(pk=old.pk).update(updated_at=changed_at)
    assert events(see(page_of(old.pk)))[:2] == [(CHANGED, ""), (ADDED, "")]


def test_dates_that_the_document_does_not_have_are_left_out(see: Any) -> None:
    session = make_session("checkout", created_at="yesterday", last_accessed=None)
    assert events(see(page_of(session.pk))) == [(ADDED, "")]


def test_an_archived_session_shows_its_run_actor_and_reasons(see: Any, old: BrowserSession) -> None:
    run = swept()
    page = see(page_of(old.pk))
    what, by = events(page)[0]
    assert what == f"Removed by run {run.pk} Last accessed 52 days ago; the limit is 7 days."
    assert by == "Command: tester"
    assert f'<a href="/admin/sessions_app/cleanuprun/{run.pk}/change/">' in table_of(page)


def test_each_removal_and_restoration_is_shown_with_its_actor(see: Any, old: BrowserSession) -> None:
    first = undo_cleanup(swept(), actor="anna")
    second = undo_cleanup(swept(), actor="ben")
    moves = [
        (f"Restored from run {second.pk}", "ben"),
        (f"Removed by run {second.pk} {CRITERIA}", "Command: tester"),
        (f"Restored from run {first.pk}", "anna"),
        (f"Removed by run {first.pk} {CRITERIA}", "Command: tester"),
        (ADDED, ""),
        (CREATED, ""),
        (ACCESSED, ""),
    ]
    lines = rows_of(see(page_of(old.pk)))
    assert [(what, by) for _, what, by in lines] == moves
    assert sorted((when for when, _, _ in lines), reverse=True) == [when for when, _, _ in lines]
    third = swept()
    away = events(see(page_of(old.pk)))
    assert away[0][0].startswith(f"Removed by run {third.pk} ")
    assert away[1:] == moves


def test_a_single_restoration_has_no_actor_and_an_undo_has_one(see: Any, old: BrowserSession) -> None:
    first = swept()
    restore_sessions([old.pk])
    assert rows_of(see(page_of(old.pk)))[0][1:] == (f"Restored from run {first.pk}", "")
    assert rows_of(see(page_of(old.pk)))[0][0] != "unknown"
    second = undo_cleanup(swept(), actor="anna")
    lines = rows_of(see(page_of(old.pk)))
    assert [what for _, what, _ in lines[:4]] == [
        f"Restored from run {second.pk}",
        f"Removed by run {second.pk} {CRITERIA}",
        f"Restored from run {first.pk}",
        f"Removed by run {first.pk} {CRITERIA}",
    ]
    assert lines[2][1:] == (f"Restored from run {first.pk}", "")
    assert sorted((when for when, _, _ in lines), reverse=True) == [when for when, _, _ in lines]


def test_an_undo_after_a_restoration_is_not_shown_as_its_cause(see: Any, old: BrowserSession) -> None:
    make_session("other", **OLD)
    first = swept()
    restore_sessions([old.pk])
    second = swept()
    restore_sessions([old.pk])
    undo_cleanup(first, actor="anna")
    lines = rows_of(see(page_of(old.pk)))
    assert lines[0][1:] == (f"Restored from run {second.pk}", "")
    assert lines[2][1:] == (f"Restored from run {first.pk}", "")


def test_a_deleted_run_is_shown_by_its_number(see: Any, old: BrowserSession) -> None:
    _record_moves(old, [10**9])
    lines = rows_of(see(page_of(old.pk)))
    assert [line[1:] for line in lines[:2]] == [
        ("Restored from run 1000000000", ""),
        ("Removed by run 1000000000", ""),
    ]


def _record_moves(session: BrowserSession, numbers: list[int]) -> None:
    for number in numbers:
        at = database_now()
        SessionEvent.objects.create(
            session_key=session.pk,
            code="restored",
            run_key=number,
            removed_at=at,
            at=at + timedelta(seconds=1),
        )


def test_runs_are_linked_and_described_for_those_who_may_see_them(
    client: Client, old: BrowserSession, viewer: User
) -> None:
    undo_cleanup(swept())
    swept()
    viewer.user_permissions.remove(Permission.objects.get(codename="view_cleanuprun"))
    client.force_login(viewer)
    for _ in ("archived", "live"):
        page = client.get(page_of(old.pk)).content.decode()
        assert "Restored from run" in table_of(page)
        assert "Criteria" not in table_of(page)
        assert not re.search(r"cleanuprun/\d", page)
        restore_sessions([old.pk])


def test_pins_are_shown_to_all_users_who_see_the_session(
    client: Client, old: BrowserSession, operator: User, viewer: User
) -> None:
    client.force_login(operator)
    for hour, pin in enumerate("101"):
        with time_machine.travel(database_now() + timedelta(hours=hour + 1), tick=False):
            client.force_login(operator)
            client.post(f"{LIST}{old.pk}/pin/", {"pin": pin})
    client.force_login(viewer)
    lines = events(client.get(page_of(old.pk)).content.decode())
    assert lines[:3] == [("Pinned", "operator"), ("Unpinned", "operator"), ("Pinned", "operator")]
    swept(all=True)
    assert ("Unpinned", "operator") in events(client.get(page_of(old.pk)).content.decode())


def test_views_of_an_endpoint_are_shown_only_with_its_permission(
    client: Client, old: BrowserSession, root: User, viewer: User
) -> None:
    client.force_login(root)
    client.post(f"{LIST}{old.pk}/endpoint/")
    shown = ("Endpoint shown", "root")
    assert shown in events(client.get(page_of(old.pk)).content.decode())
    client.force_login(viewer)
    assert shown not in events(client.get(page_of(old.pk)).content.decode())
    # Django's own history page shows all entries.
    response = client.get(f"{LIST}{old.pk}/history/", follow=True)
    assert response.redirect_chain == [(f"{page_of(old.pk)}#history", 302)]
    assert "Endpoint shown" not in response.content.decode()


def test_the_log_of_other_sessions_is_not_shown(client: Client, old: BrowserSession, operator: User) -> None:
    other = make_session("other")
    client.force_login(operator)
    client.post(f"{LIST}{other.pk}/pin/", {"pin": "1"})
    assert "Pinned" not in [what for what, _ in events(client.get(page_of(old.pk)).content.decode())]


def test_a_long_history_is_truncated_with_a_note(see: Any, old: BrowserSession, root: User) -> None:
    assert "only the latest" not in table_of(see(page_of(old.pk)))
    numbers = list(range(1001, 1001 + MAX_EVENTS + 5))
    _record_moves(old, numbers)
    LogEntry.objects.log_actions(root.pk, [old] * (MAX_EVENTS + 5), 2, "Pinned.")
    table = table_of(see(page_of(old.pk)))
    assert f"only the latest {MAX_EVENTS} undone removals" in table
    assert table.count("Removed by") == table.count("Pinned") == MAX_EVENTS
    assert "run 1025" in table
    assert "run 1005" not in table


def test_the_page_takes_no_more_queries_for_a_longer_history(
    client: Client, old: BrowserSession, operator: User
) -> None:
    client.force_login(operator)

    def queries_of_the_page() -> list[str]:
        client.post(f"{LIST}{old.pk}/pin/", {"pin": "0"})
        page = page_of(old.pk)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(page).status_code == 200
        return [query["sql"] for query in captured]

    undo_cleanup(swept())
    once = queries_of_the_page()
    # Login and user, permissions of the user and of groups, limits, the session, the log, removals and
    # restorations, other events, and the runs.
    assert len(once) == 10
    for _ in range(3):
        undo_cleanup(swept())
    often = queries_of_the_page()
    assert len(often) == len(once)
    # This column has megabytes if runs skipped many sessions.
    assert not any("skipped_sessions" in query for query in often)
    swept()
    # One query for the run that removed it, and one for the document.
    assert len(queries_of_the_page()) == len(once) + 2
