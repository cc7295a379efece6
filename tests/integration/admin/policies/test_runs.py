"""Manual sweeps of policies, and the permissions to view, change and run policies."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app import policies
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from tests.clients import CHANGES, POLICIES, policy_form, post_policy, steps_of
from tests.factories import Queued, make_policy, make_session


def preview_fields(client: Client, policy: CleanupPolicy) -> dict[str, str]:
    """Return the fields of the form that runs a policy."""
    html = client.get(f"{POLICIES}{policy.pk}/run/").content.decode()
    return dict(re.findall(r'<input type="hidden" name="(policy|due_at)" value="([^"]+)">', html))


def start(client: Client, policy: CleanupPolicy, fields: dict[str, str]) -> str:
    return client.post(f"{POLICIES}{policy.pk}/run/", fields, follow=True).content.decode()


class TestRunNow:
    def test_shows_a_preview_and_queues_the_sweep(self, as_root: Client, queued: Queued) -> None:
        make_session("bad", session_id="")
        policy = make_policy("Team", "invalid", brake_count=0)
        html = as_root.get(f"{POLICIES}{policy.pk}/run/").content.decode()
        assert "Needs approval." in html
        assert not queued
        assert "was queued for the worker" in start(as_root, policy, preview_fields(as_root, policy))
        ((name, pk, due_at, *origin),) = queued
        assert (name, pk, origin) == ("sessions_app.tasks.sweep", policy.pk, ["admin", "root"])
        from sessions_app import tasks

        assert "needs approval" in tasks.sweep(pk, due_at, *origin)
        run = CleanupRun.objects.get()
        assert (run.trigger, run.actor, run.state) == ("admin", "root", "held")

    def test_is_refused_while_another_run_is_running(self, as_root: Client, queued: Queued) -> None:
        policy = make_policy("Team", "invalid")
        policies.sweep(policy, due_at=database_now(), trigger="schedule")
        CleanupRun.objects.update(state="running")
        html = start(as_root, policy, preview_fields(as_root, policy))
        assert f"is already running: run {CleanupRun.objects.get().pk}." in html
        assert not queued

    def test_of_all_sessions_needs_approval(self, as_root: Client, queued: Queued) -> None:
        for number in range(3):
            make_session(f"fresh-{number}")
        make_session("dear", is_pinned=True)
        policy = make_policy("CI", "all", brake_percent=50)
        what = "Started manually, this step would remove 4 of 4 sessions."
        message = f"{what} A user must type the number to confirm."
        assert message in as_root.get(f"{POLICIES}{policy.pk}/run/").content.decode()
        start(as_root, policy, preview_fields(as_root, policy))
        from sessions_app import tasks

        tasks.sweep(*queued[0][1:])
        run = CleanupRun.objects.get()
        assert (run.state, run.held_because, BrowserSession.objects.count()) == ("held", message, 4)
        page = f"/admin/sessions_app/cleanuprun/{run.pk}/plan/"
        as_root.post(page, {"approve": "1"})
        assert BrowserSession.objects.count() == 4
        as_root.post(page, {"approve": "1", "number": "4"})
        assert BrowserSession.objects.count() == 0

    def test_of_a_changed_policy_is_refused(self, as_root: Client, queued: Queued) -> None:
        policy = make_policy("Team", "invalid")
        fields = preview_fields(as_root, policy)
        policy.steps.update(criterion="all")
        assert "The policy was changed in the meantime." in start(as_root, policy, fields)
        assert not queued

    @pytest.mark.parametrize("due_at", ["", "soon", "2026-11-22T12:00:00", "yesterday", "tomorrow"])
    def test_without_a_recent_preview_is_refused(self, as_root: Client, queued: Queued, due_at: str) -> None:
        hours = {"yesterday": -25, "tomorrow": 1}.get(due_at)
        policy = make_policy("Team", "invalid")
        instant = due_at if hours is None else (database_now() + timedelta(hours=hours)).isoformat()
        html = start(as_root, policy, {**preview_fields(as_root, policy), "due_at": instant})
        message = "This preview is over a day old." if due_at == "yesterday" else "The form was incomplete"
        assert message in html
        assert not queued

    def test_sent_twice_is_one_sweep(self, as_root: Client, queued: Queued) -> None:
        for name in ("bad", "fine", "good"):
            make_session(name, **({"session_id": ""} if name == "bad" else {}))
        policy = make_policy("Team", "invalid", brake_count=0)
        fields = preview_fields(as_root, policy)
        from sessions_app import tasks

        for _ in range(2):
            start(as_root, policy, fields)
            tasks.sweep(*queued[-1][1:])
        assert [run.state for run in CleanupRun.objects.all()] == ["held"]

    @pytest.mark.parametrize(("days", "is_warned"), [(0, True), (14, False)])
    def test_warns_about_what_cannot_be_undone(
        self, as_root: Client, settings: Any, days: float, is_warned: bool
    ) -> None:
        settings.RAPTOR_ARCHIVE_DAYS = days
        for name in ("bad", "fine", "good"):
            make_session(name, **({"session_id": ""} if name == "bad" else {}))
        html = as_root.get(f"{POLICIES}{make_policy('Team', 'invalid').pk}/run/").content.decode()
        assert ("RAPTOR_ARCHIVE_DAYS is 0" in html, "Deleted permanently" in html) == (is_warned, is_warned)
        assert ("Moved to the archive" in html) is not is_warned

    def test_of_an_unknown_policy_is_not_found(self, as_root: Client) -> None:
        assert as_root.get(f"{POLICIES}999999/run/").status_code == 404


class TestPermissions:
    def test_a_viewer_cannot_change_policies(self, client: Client, viewer: User, queued: Queued) -> None:
        client.force_login(viewer)
        policy = make_policy("Team", ("expired", 3))
        html = client.get(f"{POLICIES}{policy.pk}/change/").content.decode()
        assert "Expired sessions" in html
        assert 'name="_save"' not in html
        assert "Run now" not in html
        assert client.get(POLICIES).status_code == 200
        for address in ("add/", f"{policy.pk}/run/", f"{policy.pk}/delete/"):
            assert client.get(f"{POLICIES}{address}").status_code == 403
            assert client.post(f"{POLICIES}{address}").status_code == 403
        data = policy_form(("1", "all", ""), policy=policy)
        assert client.post(f"{POLICIES}{policy.pk}/change/", data).status_code == 403
        assert steps_of(policy) == [(1, "expired", 3)]
        assert client.get(CHANGES).status_code == 403
        assert not queued

    def test_an_operator_can_run_a_policy_but_not_change_it(
        self, client: Client, operator: User, queued: Queued
    ) -> None:
        client.force_login(operator)
        policy = make_policy("Team")
        assert "Run now" in client.get(f"{POLICIES}{policy.pk}/change/").content.decode()
        start(client, policy, preview_fields(client, policy))
        assert len(queued) == 1
        assert client.post(f"{POLICIES}{policy.pk}/change/", policy_form(policy=policy)).status_code == 403

    def test_users_who_can_change_policies_and_clean_up_can_change_steps(
        self, client: Client, viewer: User
    ) -> None:
        allowed = Permission.objects.filter(codename__in=("change_cleanuppolicy", "clean_up_sessions"))
        viewer.user_permissions.add(*allowed)
        client.force_login(viewer)
        policy = make_policy("Team", "invalid")
        post_policy(client, f"{policy.pk}/change/", policy_form(("1", "expired", "2"), policy=policy))
        assert steps_of(policy) == [(1, "expired", 2)]

    def test_users_who_cannot_clean_up_cannot_change_policies(self, client: Client, viewer: User) -> None:
        codenames = [f"{action}_cleanuppolicy" for action in ("add", "change", "delete")]
        viewer.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
        client.force_login(viewer)
        policy = make_policy("Team", "invalid")
        everything = policy_form(("1", "all", ""), schedule="* * * * *", brake_percent="")
        assert client.post(f"{POLICIES}add/", {**everything, "name": "Mine"}).status_code == 403
        changed = policy_form(("1", "all", ""), policy=policy)
        assert client.post(f"{POLICIES}{policy.pk}/change/", changed).status_code == 403
        assert client.post(f"{POLICIES}{policy.pk}/delete/", {"post": "yes"}).status_code == 403
        assert steps_of(policy) == [(1, "invalid", None)]
        assert 'name="_save"' not in client.get(f"{POLICIES}{policy.pk}/change/").content.decode()

    def test_the_page_shows_runs_and_changes_with_permission(self, client: Client, viewer: User) -> None:
        policy = make_policy("Team", "invalid", brake_count=0)
        make_session("bad", session_id="")
        policies.sweep(policy, due_at=database_now(), trigger="schedule")
        policies.record_change(policy, "changed", "the-author", None, policies.snapshot_of(policy))
        link = f"/admin/sessions_app/cleanuprun/{CleanupRun.objects.get().pk}/change/"
        addresses = (POLICIES, f"{POLICIES}{policy.pk}/change/")

        def pages() -> str:
            client.force_login(User.objects.get(pk=viewer.pk))
            return "".join(client.get(address).content.decode() for address in addresses)

        assert (pages().count(link), "the-author" in pages()) == (2, False)
        viewer.user_permissions.add(Permission.objects.get(codename="view_policychange"))
        viewer.user_permissions.remove(Permission.objects.get(codename="view_cleanuprun"))
        assert (pages().count(link), "the-author" in pages()) == (0, True)

    def test_the_change_log_is_read_only(self, as_root: Client) -> None:
        policy = make_policy("Team", "invalid")
        change = policies.record_change(policy, "added", "root", None, policies.snapshot_of(policy))
        assert as_root.get(f"{CHANGES}?policy_name=Team&action__exact=added").status_code == 200
        assert as_root.get(f"{CHANGES}?before_json__name=x").status_code == 400
        assert as_root.get(f"{CHANGES}add/").status_code == 403
        for action in ("change", "delete"):
            data = {"post": "yes", "actor": "nobody"}
            assert as_root.post(f"{CHANGES}{change.pk}/{action}/", data).status_code in (403, 200)
        change.refresh_from_db()
        assert change.actor == "root"
