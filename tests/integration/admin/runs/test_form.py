"""The page on which a cleanup is asked for by its criteria."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app.models import CleanupRun
from tests.factories import INVALID, aged, live, make_session

NEW = "/admin/sessions_app/cleanuprun/new/"


@pytest.fixture
def at_work(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


def ask(client: Client, **fields: Any) -> Any:
    return client.post(NEW, {"max_age_days": "7", "namespace": "", "browser_type": "", **fields})


def test_what_is_chosen_is_planned_and_looked_at_first(at_work: Client) -> None:
    make_session("old", **aged(9))
    make_session("invalid", **aged(0), **INVALID)
    make_session("elsewhere", namespace="other", **aged(9))
    html = at_work.get(NEW).content.decode()
    assert "Show the plan" in html
    assert '<option value="shop">' in html
    response = ask(at_work, what=["expired"], namespace="shop", max_age_days="8.5")
    run = CleanupRun.objects.get()
    assert response["Location"] == f"/admin/sessions_app/cleanuprun/{run.pk}/plan/"
    assert run.criteria.describe() == "expired (last accessed over 8.5 days ago), in namespace shop"
    assert (run.matched_count, run.actor, run.trigger) == (1, "operator", "admin")
    assert live() == ["elsewhere", "invalid", "old"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "Choose at least one"),
        ({"what": ["nonsense"]}, "Select a valid choice"),
        ({"what": ["expired"], "max_age_days": "0"}, "greater than or equal"),
        ({"what": ["expired"], "max_age_days": "x"}, "Enter a number"),
        ({"what": ["expired"], "max_age_days": "1e9"}, "less than or equal"),
        ({"what": ["expired"], "browser_type": "lynx"}, "Select a valid choice"),
        ({"what": ["expired"], "namespace": "x" * 101}, "at most 100"),
    ],
)
def test_what_cannot_be_asked_for_is_told_and_nothing_planned(
    at_work: Client, fields: dict[str, Any], told: str
) -> None:
    html = ask(at_work, **fields).content.decode()
    assert told in html
    assert not CleanupRun.objects.exists()


def test_all_is_for_those_only_who_may_clean_up_all(at_work: Client, operator: User, root: User) -> None:
    make_session("fresh", **aged(0))
    assert 'value="all"' not in at_work.get(NEW).content.decode()
    assert "Select a valid choice" in ask(at_work, what=["all"]).content.decode()
    at_work.force_login(root)
    page = ask(at_work, what=["all"])["Location"]
    at_work.force_login(operator)
    assert "You may look at this plan" in at_work.get(page).content.decode()
    assert at_work.post(page, {"number": "1"}).status_code == 403
    assert live() == ["fresh"]
    operator.user_permissions.add(Permission.objects.get(codename="clean_up_all_sessions"))
    at_work.force_login(operator)
    assert at_work.post(page, {"number": "1"}).status_code == 302
    assert live() == []


def test_who_may_not_clean_up_does_not_get_there(client: Client, viewer: User, outsider: User) -> None:
    client.force_login(viewer)
    assert client.get(NEW).status_code == 403
    assert "Clean up…" not in client.get("/admin/sessions_app/cleanuprun/").content.decode()
    client.force_login(outsider)
    assert client.get(NEW).status_code == 302


def test_a_step_of_all_is_for_those_only_who_may_clean_up_all(
    client: Client, operator: User, root: User
) -> None:
    for codename in ("add_cleanuppolicy", "change_cleanuppolicy"):
        operator.user_permissions.add(Permission.objects.get(codename=codename))
    address = "/admin/sessions_app/cleanuppolicy/add/"
    client.force_login(operator)
    assert '<option value="all">' not in client.get(address).content.decode()
    client.force_login(root)
    assert '<option value="all">' in client.get(address).content.decode()
