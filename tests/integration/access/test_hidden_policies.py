"""Limited namespaces in the policy form, and in runs of policies for all namespaces."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from sessions_app.access.visibility import conceal
from tests.clients import POLICIES, policy_form
from tests.factories import make_policy, make_session, run_sweep

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("limit")]


@pytest.fixture
def as_administrator(client: Client) -> Client:
    """A client of an administrator who may not see the limited namespaces."""
    user = User.objects.create_user("boss", is_staff=True)
    user.groups.add(Group.objects.get(name="Administrator"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("namespace", ["", "payments"])
def test_the_preview_shows_no_hidden_sessions(as_administrator: Client, namespace: str) -> None:
    make_session("theirs", namespace="payments", session_id="")
    data = policy_form(("1", "invalid", ""), namespace=namespace)
    response = as_administrator.post(f"{POLICIES}preview/", data)
    assert response.status_code == 200
    html = response.content.decode()
    assert "appears when" in html
    assert "theirs" not in html


def test_hidden_namespaces_are_not_offered(as_administrator: Client) -> None:
    make_session(namespace="payments")
    make_session(namespace="shop")
    html = as_administrator.get(f"{POLICIES}add/").content.decode()
    assert '<option value="shop">' in html
    assert "payments" not in html


def test_a_run_for_all_namespaces_does_not_show_its_protection_rules(as_administrator: Client) -> None:
    make_session("payments-secret", namespace="payments", session_id="")
    make_session("ours", session_id="")
    policy = make_policy("Tidy", "invalid")
    policy.protections.create(pattern="payments-*")
    (run,) = run_sweep(policy).runs
    assert "payments-*" in run.criteria.describe()
    shown = conceal(User.objects.get(username="boss"), run)
    assert "payments" not in shown.criteria.describe()
    assert shown.skipped_reasons == {}
