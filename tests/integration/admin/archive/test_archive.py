"""The archive: search, filters, Restore, and redirects between live and archived sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app.cleanup import plan_cleanup, run_cleanup, undo_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, LimitedNamespace
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria
from tests.clients import ARCHIVE, LIST, RUNS, names, page_at, page_of
from tests.factories import INVALID, OLD, archived, live, make_policy, make_session, run_sweep, swept

pytestmark = pytest.mark.django_db


@pytest.fixture
def removed(db: None) -> dict[str, CleanupRun]:
    """Sessions that were removed by a user, a policy and a program."""
    make_session("expired", **OLD, metadata={"user": "ada"})
    by_command = swept(expired=True)
    make_session("broken", namespace="bank", **INVALID, cdp_url="ws://build-7:1/x")
    policy = run_sweep(make_policy("Tidy", "invalid")).runs[0]
    chosen = make_session("chosen", session_id="picked")
    criteria = Criteria(session_ids=(chosen.pk,))
    by_person = run_cleanup(plan_cleanup(criteria, trigger="admin", actor="grace"))
    return {"command": by_command, "policy": policy, "person": by_person}


def found(client: Client, query: str) -> set[str]:
    return set(names(client.get(f"{ARCHIVE}?{query}").content.decode()))


def test_the_archive_is_filtered_like_the_list(as_viewer: Client, removed: dict[str, CleanupRun]) -> None:
    policy = removed["policy"].policy_id
    for query, expected in (
        ("", {"expired", "broken", "chosen"}),
        ("reason=expired", {"expired"}),
        ("reason=missing_session_id", {"broken"}),
        ("reason=selected", {"chosen"}),
        ("reason=all", set()),
        (f"policy={policy}", {"broken"}),
        ("policy=none", {"expired", "chosen"}),
        ("policy=99999", set()),
        ("policy=x", set()),
        ("user=grace", {"chosen"}),
        ("user=nobody", set()),
        (f"run={removed['command'].pk}", {"expired"}),
        (f"run={removed['command'].pk}&reason=selected", set()),
        ("namespace=bank", {"broken"}),
        ("removed=today", {"expired", "broken", "chosen"}),
        ("reason=selected&user=grace&policy=none&removed=7&q=chosen", {"chosen"}),
    ):
        assert found(as_viewer, query) == expected, query


def test_the_date_filter_uses_the_time_of_removal(as_viewer: Client, removed: dict[str, CleanupRun]) -> None:
    month_ago = database_now() - timedelta(days=20)
    ArchivedSession.objects.filter(name="expired").update(removed_at=month_ago)
    assert found(as_viewer, "removed=7") == {"broken", "chosen"}
    assert found(as_viewer, "removed=30") == {"expired", "broken", "chosen"}


def test_the_archive_is_searched_like_the_list(as_viewer: Client, removed: dict[str, CleanupRun]) -> None:
    for text, expected in (
        ("exp", {"expired"}),
        ("ADA", {"expired"}),
        ("build-7", {"broken"}),
        ("picked", {"chosen"}),
    ):
        assert found(as_viewer, f"q={text}") == expected
    assert found(as_viewer, "q=devtools") == set()


def test_a_search_of_the_list_reports_matches_in_the_archive(
    as_viewer: Client, removed: dict[str, CleanupRun]
) -> None:
    make_session("expired-too")
    page = page_at(as_viewer, f"{LIST}?q=expired")
    assert page.links["1 more in the archive"] == f"{ARCHIVE}?q=expired"
    assert "1 more in the archive" in page_at(as_viewer, f"{LIST}?q=ada").links
    assert (
        f"{ARCHIVE}?q=broken&namespace=bank"
        in page_at(as_viewer, f"{LIST}?q=broken&namespace=bank").links.values()
    )
    assert "archive" not in " ".join(page_at(as_viewer, f"{LIST}?q=broken&namespace=shop").links).replace(
        "Archive", ""
    )
    assert "more in the archive" not in as_viewer.get(f"{LIST}?q=zebra").content.decode()


def test_the_archive_is_mentioned_only_to_users_who_may_see_it(
    as_viewer: Client, viewer: User, removed: dict[str, CleanupRun]
) -> None:
    LimitedNamespace.objects.create(namespace="bank")
    assert "in the archive" not in as_viewer.get(f"{LIST}?q=broken").content.decode()
    viewer.user_permissions.remove(Permission.objects.get(codename="view_archivedsession"))
    assert "in the archive" not in as_viewer.get(f"{LIST}?q=expired").content.decode()


def test_a_session_is_restored_on_its_page(as_operator: Client, removed: dict[str, CleanupRun]) -> None:
    session = ArchivedSession.objects.get(name="expired")
    page = f"{ARCHIVE}{session.pk}/"
    assert "Restore" in page_at(as_operator, f"{page}change/").buttons
    response = as_operator.post(f"{page}restore/")
    assert response["Location"] == page_of(BrowserSession(pk=session.pk))
    assert live() == ["expired"]
    removed["command"].refresh_from_db()
    assert removed["command"].restored_count == 1
    # The URL of the archived session now redirects to the live session.
    assert as_operator.get(f"{page}change/")["Location"] == response["Location"]
    assert as_operator.post(f"{page}restore/")["Location"] == response["Location"]


def test_a_taken_name_is_reported(as_operator: Client, removed: dict[str, CleanupRun]) -> None:
    make_session("expired")
    session = ArchivedSession.objects.get(name="expired")
    html = as_operator.post(f"{ARCHIVE}{session.pk}/restore/", follow=True).content.decode()
    assert "“expired” stays in the archive" in html
    assert "expired" in archived()


def test_viewers_cannot_restore(as_viewer: Client, removed: dict[str, CleanupRun]) -> None:
    session = ArchivedSession.objects.get(name="expired")
    assert "Restore" not in page_at(as_viewer, f"{ARCHIVE}{session.pk}/change/").buttons
    assert as_viewer.post(f"{ARCHIVE}{session.pk}/restore/").status_code == 403
    assert live() == []


def test_the_url_of_a_removed_session_redirects_to_the_archive(
    as_viewer: Client, viewer: User, removed: dict[str, CleanupRun]
) -> None:
    session = ArchivedSession.objects.get(name="broken")
    address = page_of(BrowserSession(pk=session.pk))
    response = as_viewer.get(address, follow=True)
    assert response.redirect_chain[-1][0] == f"{ARCHIVE}{session.pk}/change/"
    assert "This session was removed. It is in the archive." in response.content.decode()
    LimitedNamespace.objects.create(namespace="bank")
    assert as_viewer.get(address)["Location"] != f"{ARCHIVE}{session.pk}/change/"
    assert as_viewer.get(page_of(BrowserSession(pk=987_654)))["Location"] == "/admin/"


def test_actions_on_the_page_of_a_session_keep_the_filters_of_the_list(as_operator: Client) -> None:
    session = make_session("one")
    query = "namespace=shop&q=one&o=-1"
    html = as_operator.get(f"{LIST}?{query}").content.decode()
    (address,) = {part.split('"')[0] for part in html.split('href="')[1:] if f"/{session.pk}/change/" in part}
    page = page_at(as_operator, address.replace("&amp;", "&"))
    back: Any = page.links["Sessions"]
    links = as_operator.get(address).content.decode()
    assert f'href="{LIST}?namespace=shop&amp;q=one&amp;o=-1"' in links or back.endswith(query)
    pin = links.split('formaction="')[1].split('"')[0].replace("&amp;", "&")
    pinned = as_operator.post(pin, {"pin": "1"})
    assert "_changelist_filters" in pinned["Location"]


def test_the_urls_of_archived_sessions_redirect_to_live_sessions_after_an_undo(
    as_operator: Client, removed: dict[str, CleanupRun]
) -> None:
    session = ArchivedSession.objects.get(name="expired")
    undo_cleanup(removed["command"])
    assert as_operator.get(page_of(BrowserSession(pk=session.pk))).status_code == 200
    assert as_operator.get(f"{RUNS}{removed['command'].pk}/change/").status_code == 200
