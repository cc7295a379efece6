"""The change log of policies: its entries, its screen and its downloads."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client

from sessions_app import policies
from sessions_app.models import CleanupPolicy, PolicyChange
from sessions_app.models.clock import database_now
from tests.clients import CHANGES, POLICIES, policy_form, post_policy
from tests.factories import make_policy


def test_a_change_is_stored_with_the_values_before(as_root: Client) -> None:
    policy = make_policy("Team", "invalid", schedule="0 2 * * *", is_enabled=True)
    post_policy(
        as_root,
        f"{policy.pk}/change/",
        policy_form(("1", "invalid", ""), policy=policy, schedule="0  4 * * *"),
    )
    change = PolicyChange.objects.get(policy=policy)
    assert change.before_json is not None
    assert change.after_json is not None
    assert (change.before_json["schedule"], change.after_json["schedule"]) == ("0 2 * * *", "0 4 * * *")
    for address in (CHANGES, f"{CHANGES}{change.pk}/change/", f"{POLICIES}{policy.pk}/change/"):
        assert "Schedule: 0 2 * * * → 0 4 * * *" in as_root.get(address).content.decode()
    policy.refresh_from_db()
    assert policy.next_run_at is not None
    assert policy.next_run_at.hour == 4


def test_saving_without_changes_is_not_recorded(as_root: Client) -> None:
    policy = make_policy("Team", "invalid")
    data = policy_form(
        ("1", "invalid", ""), policy=policy, schedule="", is_enabled="", description="", brake_percent=""
    )
    post_policy(as_root, f"{policy.pk}/change/", data)
    assert not PolicyChange.objects.filter(policy=policy).exists()


def test_a_policy_without_runs_can_be_deleted_and_keeps_its_change_log(as_root: Client) -> None:
    policy = make_policy("Team", "invalid")
    assert as_root.post(f"{POLICIES}{policy.pk}/delete/", {"post": "yes"}).status_code == 302
    change = PolicyChange.objects.get(policy_name="Team")
    assert (change.policy, change.action, change.actor, change.after_json) == (None, "deleted", "root", None)
    assert "Steps: 1. Invalid sessions" in as_root.get(CHANGES).content.decode()
    policy = make_policy("Team", "invalid")
    policies.sweep(policy, due_at=database_now(), trigger="admin")
    assert as_root.post(f"{POLICIES}{policy.pk}/delete/", {"post": "yes"}).status_code == 403
    assert CleanupPolicy.objects.filter(pk=policy.pk).exists()


class TestChangeLog:
    @pytest.fixture
    def changes(self) -> list[PolicyChange]:
        """Changes by two users, the first of them long ago."""
        PolicyChange.objects.all().delete()
        policy = make_policy("=Team", "invalid")
        after = policies.snapshot_of(policy)
        made = [
            policies.record_change(policy, "added", "root", None, after),
            policies.record_change(policy, "changed", "carol", after, {**after, "namespace": "shop"}),
        ]
        long_ago = database_now() - timedelta(days=40)
        PolicyChange.objects.filter(pk=made[0].pk).update(changed_at=long_ago)
        return made

    def test_downloads_as_csv_and_json(self, as_root: Client, changes: list[PolicyChange]) -> None:
        text = as_root.get(f"{CHANGES}export.csv").getvalue().decode()
        latest, first = csv.DictReader(io.StringIO(text))
        assert (latest["policy"], latest["actor"], first["actor"]) == ("'=Team", "carol", "root")
        assert (latest["what"], first["before"]) == ("Namespace: none → shop", "")
        assert json.loads(latest["after"])["namespace"] == "shop"
        exported = json.loads(as_root.get(f"{CHANGES}export.json").getvalue())
        assert [change["change"] for change in exported["changes"]] == [changes[1].pk, changes[0].pk]
        assert exported["changes"][1]["after"] == changes[0].after_json
        html = as_root.get(f"{CHANGES}?actor=carol").content.decode()
        assert f'{CHANGES}export.csv?actor=carol"' in html

    @pytest.mark.parametrize(
        ("query", "actors"),
        [
            ("actor=root", ["root"]),
            ("changed=30", ["carol"]),
            ("changed=30&actor=root", []),
            ("action__exact=added", ["root"]),
        ],
    )
    def test_is_filtered_by_actor_and_date(
        self, as_root: Client, changes: list[PolicyChange], query: str, actors: list[str]
    ) -> None:
        response = as_root.get(f"{CHANGES}export.json?{query}")
        exported = json.loads(response.getvalue())
        assert [change["actor"] for change in exported["changes"]] == actors
        assert as_root.get(f"{CHANGES}?{query}").status_code == 200

    def test_is_not_downloaded_unfiltered_for_a_wrong_filter(
        self, as_root: Client, changes: list[PolicyChange]
    ) -> None:
        for query in ("changed=zzz", "before_json__name=x"):
            assert as_root.get(f"{CHANGES}export.csv?{query}").status_code == 400

    def test_downloads_require_the_view_permission(
        self, client: Client, viewer: User, changes: list[PolicyChange]
    ) -> None:
        client.force_login(viewer)
        for kind in ("csv", "json"):
            assert client.get(f"{CHANGES}export.{kind}").status_code == 403

    @pytest.mark.django_db
    def test_contains_the_policies_of_the_installation(self) -> None:
        policy, changed = make_policy("Team", "invalid"), make_policy("Other", ("expired", 3))
        PolicyChange.objects.all().delete()
        for installed in (policy, changed):
            policies.record_change(installed, "added", "installation", None, None)
        PolicyChange.objects.filter(policy_name="Team").update(policy=policy)
        PolicyChange.objects.filter(policy_name="Other").update(policy=changed)
        was = policies.snapshot_of(changed)
        changed.steps.update(criterion="invalid", max_age_days=None)
        policies.record_change(changed, "changed", "root", was, policies.snapshot_of(changed))
        import_module("sessions_app.migrations.0004_presets_in_ledger").fill(apps, None)
        added = PolicyChange.objects.filter(action="added")
        assert added.get(policy=policy).after_json == policies.snapshot_of(policy)
        assert added.get(policy=changed).after_json == was
