"""The form for the criteria of a cleanup."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app.models import CleanupRun
from tests.clients import Page
from tests.factories import INVALID, aged, live, make_session

NEW = "/admin/sessions_app/cleanuprun/new/"


def ask(client: Client, **fields: Any) -> Any:
    return client.post(NEW, {"max_age_days": "7", "namespace": "", "browser_type": "", **fields})


def test_the_form_leads_to_a_preview(as_operator: Client) -> None:
    make_session("old", **aged(9))
    make_session("invalid", **aged(0), **INVALID)
    make_session("elsewhere", namespace="other", **aged(9))
    html = as_operator.get(NEW).content.decode()
    assert "Preview" in Page(html).buttons
    assert '<option value="shop">' in html
    response = ask(as_operator, what=["expired"], namespace="shop", max_age_days="8.5")
    run = CleanupRun.objects.get()
    assert response["Location"] == f"/admin/sessions_app/cleanuprun/{run.pk}/plan/"
    assert run.criteria.describe() == "expired (last accessed over 8.5 days ago), in namespace shop"
    assert (run.matched_count, run.actor, run.trigger) == (1, "operator", "admin")
    assert live() == ["elsewhere", "invalid", "old"]


@pytest.mark.parametrize(
    ("fields", "error"),
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
def test_invalid_criteria_are_errors_and_plan_nothing(
    as_operator: Client, fields: dict[str, Any], error: str
) -> None:
    html = ask(as_operator, **fields).content.decode()
    assert error in html
    assert not CleanupRun.objects.exists()


def test_all_requires_a_permission(as_operator: Client, operator: User, root: User) -> None:
    make_session("fresh", **aged(0))
    assert 'value="all"' not in as_operator.get(NEW).content.decode()
    assert "Select a valid choice" in ask(as_operator, what=["all"]).content.decode()
    as_operator.force_login(root)
    page = ask(as_operator, what=["all"])["Location"]
    as_operator.force_login(operator)
    assert not as_operator.get(page).context["may_confirm"]
    assert as_operator.post(page, {"number": "1"}).status_code == 403
    assert live() == ["fresh"]
    operator.user_permissions.add(Permission.objects.get(codename="clean_up_all_sessions"))
    as_operator.force_login(operator)
    assert as_operator.post(page, {"number": "1"}).status_code == 302
    assert live() == []


def test_the_form_requires_a_permission(client: Client, viewer: User, outsider: User) -> None:
    client.force_login(viewer)
    assert client.get(NEW).status_code == 403
    assert "Clean up…" not in client.get("/admin/sessions_app/cleanuprun/").content.decode()
    client.force_login(outsider)
    assert client.get(NEW).status_code == 302


def test_a_policy_step_of_all_requires_a_permission(client: Client, operator: User, root: User) -> None:
    for codename in ("add_cleanuppolicy", "change_cleanuppolicy"):
        operator.user_permissions.add(Permission.objects.get(codename=codename))
    address = "/admin/sessions_app/cleanuppolicy/add/"
    client.force_login(operator)
    assert '<option value="all">' not in client.get(address).content.decode()
    client.force_login(root)
    assert '<option value="all">' in client.get(address).content.decode()
