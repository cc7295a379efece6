"""The live preview of the policy form, and the switch and button of the list."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app import policies
from sessions_app.models import CleanupPolicy, CleanupRun, PolicyChange
from sessions_app.models.clock import database_now
from tests.clients import POLICIES, Page, page_at, policy_form, post_policy
from tests.factories import Queued, archived, make_policy, make_session, plan, run_sweep


def preview(client: Client, data: dict[str, str], address: str = "preview/") -> Page:
    response = client.post(f"{POLICIES}{address}", data)
    assert response.status_code == 200
    return Page(response.content.decode())


def weekly(**changes: Any) -> dict[str, str]:
    """Return a form with a weekly schedule whose only step keeps the newest session of each namespace."""
    presets = {"schedule": "", "frequency": "weekly", "weekday": "1", "at": "06:30", "month_day": "1"}
    data = policy_form(("", "newest", ""), **{**presets, **changes})
    return {**data, "steps-0-keep_count": "1", "steps-0-keep_per": "namespace"}


class TestSchedule:
    @pytest.mark.parametrize(
        ("query", "schedule"),
        [
            ({"frequency": "daily", "at": "06:30"}, "30 6 * * *"),
            ({"frequency": "weekly", "at": "06:30", "weekday": "0"}, "30 6 * * 0"),
            ({"frequency": "monthly", "at": "06:30", "month_day": "15"}, "30 6 15 * *"),
            ({"frequency": "manual", "is_enabled": ""}, ""),
            ({"frequency": "cron", "schedule": "*/5 * * * *"}, "*/5 * * * *"),
        ],
    )
    def test_a_preset_is_saved(self, as_root: Client, query: dict[str, Any], schedule: str) -> None:
        post_policy(as_root, "add/", policy_form(("1", "invalid", ""), **query))
        assert CleanupPolicy.objects.get(name="Team").schedule == schedule

    def test_the_form_shows_the_preset_of_a_saved_policy(self, as_root: Client) -> None:
        policy = make_policy("Team", "invalid", schedule="30 6 * * 5")
        html = as_root.get(f"{POLICIES}{policy.pk}/change/").content.decode()
        assert '<option value="weekly" selected>' in html
        assert '<option value="5" selected>Friday</option>' in html
        assert 'value="06:30"' in html

    def test_the_next_three_instants_are_in_words(self, as_root: Client) -> None:
        text = as_root.get(f"{POLICIES}schedule/?frequency=weekly&weekday=1&at=06:30").json()["text"]
        assert text.count("Monday") >= 3
        assert text.count("06:30") >= 3

    def test_a_mistake_is_explained(self, as_root: Client) -> None:
        assert (
            "Write five fields"
            in as_root.get(f"{POLICIES}schedule/?frequency=cron&schedule=1").json()["error"]
        )

    def test_only_users_who_may_change_policies_can_use_it(self, client: Client, viewer: User) -> None:
        client.force_login(viewer)
        assert client.get(f"{POLICIES}schedule/").status_code == 403
        assert client.post(f"{POLICIES}preview/", weekly()).status_code == 403


class TestPreview:
    def test_lists_exactly_what_the_saved_policy_removes(self, as_root: Client) -> None:
        for hours in range(3):
            make_session(f"shop-{hours}", age=timedelta(hours=hours))
        make_session("bank-0", namespace="bank")
        rows = preview(as_root, weekly(brake_percent="")).rows
        names = [row[0] for row in rows if "shop" in row]
        assert not CleanupPolicy.objects.filter(name="Team").exists()
        post_policy(as_root, "add/", weekly(brake_percent=""))
        policy = CleanupPolicy.objects.get(name="Team")
        run_sweep(policy)
        assert len(names) == len(archived()) == 2
        assert archived() == ["shop-1", "shop-2"]

    def test_a_name_is_not_needed(self, as_root: Client) -> None:
        make_session("broken", session_id="")
        found = preview(as_root, policy_form(("1", "invalid", ""), name=""))
        assert "broken" in found.text

    @pytest.mark.parametrize("changes", [{"schedule": "nonsense"}, {"over_bytes": "much"}])
    def test_it_requires_complete_values(self, as_root: Client, changes: dict[str, Any]) -> None:
        assert "appears when" in preview(as_root, policy_form(("1", "invalid", ""), **changes)).text

    def test_it_considers_protection_rules(self, as_root: Client) -> None:
        make_session("keep-me", session_id="")
        make_session("broken", session_id="")
        rules = {"protections-TOTAL_FORMS": "1", "protections-0-pattern": "keep-*", "protections-0-key": ""}
        data = {**policy_form(("1", "invalid", "")), **rules}
        assert "keep-me" not in preview(as_root, data).text
        post_policy(as_root, "add/", data)
        policy = CleanupPolicy.objects.get(name="Team")
        assert [str(rule) for rule in policy.protections.all()] == ["name “keep-*”"]
        page = preview(as_root, {**data, "steps-INITIAL_FORMS": "0"}, f"{policy.pk}/preview/")
        assert "keep-me" not in page.text

    def test_the_number_of_listed_sessions_is_bounded(
        self, as_root: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
    ) -> None:
        monkeypatch.setattr("sessions_app.policies.previews.NAMES_SHOWN", 2)
        for number in range(5):
            make_session(f"broken-{number}", session_id="")
        with django_assert_max_num_queries(30):
            page = preview(as_root, policy_form(("1", "invalid", "")))
        assert page.text.count("broken-") == 2
        assert "the first 2 of 5 sessions" in page.text


class TestSteps:
    def test_a_new_policy_has_one_step_which_is_required(self, as_root: Client) -> None:
        html = as_root.get(f"{POLICIES}add/").content.decode()
        assert 'name="steps-0-criterion"' in html
        assert "This field is required." in post_policy(as_root, "add/", policy_form(("", "", "")))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"steps-0-keep_count": ""}, "Enter the number of sessions to keep in each group"),
            ({"steps-0-keep_count": "0"}, "Enter the number of sessions to keep in each group"),
            ({"steps-0-keep_per": "metadata"}, "Enter a metadata key"),
            ({"steps-0-keep_per": "metadata", "steps-0-keep_key": "token"}, "passwords, tokens or endpoints"),
            ({"steps-0-criterion": "invalid"}, "Leave this blank for all other criteria"),
        ],
    )
    def test_incomplete_steps_are_refused(
        self, as_root: Client, changes: dict[str, str], message: str
    ) -> None:
        html = post_policy(as_root, "add/", {**weekly(), **changes})
        assert message in html
        assert not CleanupPolicy.objects.filter(name="Team").exists()


@pytest.mark.parametrize(
    ("text", "size_bytes", "shown"),
    [
        ("10 MB", 10 * 1024**2, "10 MB"),
        ("1.5gb", 3 * 1024**3 // 2, "1536 MB"),
        ("1,5 GB", 3 * 1024**3 // 2, "1536 MB"),
        ("1000", 1000, "1000 bytes"),
        ("0", 0, "0 bytes"),
    ],
)
def test_sizes_have_units(as_root: Client, text: str, size_bytes: int, shown: str) -> None:
    post_policy(as_root, "add/", policy_form(("1", "invalid", ""), over_bytes=text))
    policy = CleanupPolicy.objects.get(name="Team")
    assert policy.over_bytes == size_bytes
    assert f'value="{shown}"' in as_root.get(f"{POLICIES}{policy.pk}/change/").content.decode()


def test_namespaces_are_offered(as_root: Client) -> None:
    make_session(namespace="bank")
    assert '<option value="bank">' in as_root.get(f"{POLICIES}add/").content.decode()


class TestList:
    def test_a_switch_enables_and_disables(self, as_root: Client) -> None:
        policy = make_policy("Team", "invalid", schedule="0 2 * * *")
        assert f'formaction="{POLICIES}{policy.pk}/enable/"' in as_root.get(POLICIES).content.decode()
        html = as_root.post(f"{POLICIES}{policy.pk}/enable/", {"enable": "1"}, follow=True).content.decode()
        policy.refresh_from_db()
        assert policy.next_run_at == policies.next_run(policy, after=database_now())
        assert "“Team” is enabled." in html
        as_root.post(f"{POLICIES}{policy.pk}/enable/", {"enable": "0"})
        assert CleanupPolicy.objects.filter(pk=policy.pk, is_enabled=False, next_run_at=None).exists()
        assert [change.actor for change in PolicyChange.objects.filter(policy=policy)] == ["root", "root"]

    def test_a_policy_without_a_schedule_cannot_be_enabled(self, as_root: Client) -> None:
        policy = make_policy("Team", "invalid")
        as_root.post(f"{POLICIES}{policy.pk}/enable/", {"enable": "1"})
        policy.refresh_from_db()
        assert not policy.is_enabled

    def test_the_list_links_to_a_manual_start(self, as_root: Client) -> None:
        policy = make_policy("Team", "invalid")
        assert page_at(as_root, POLICIES).links["Run now…"].endswith("/run/")
        assert f"{POLICIES}{policy.pk}/run/" in as_root.get(POLICIES).content.decode()

    def test_a_viewer_sees_only_the_state(self, client: Client, viewer: User) -> None:
        policy = make_policy("Team", "invalid", schedule="0 2 * * *")
        client.force_login(viewer)
        html = client.get(POLICIES).content.decode()
        assert "/enable/" not in html
        assert "Run now" not in html
        assert client.post(f"{POLICIES}{policy.pk}/enable/", {"enable": "1"}).status_code == 403

    @pytest.mark.parametrize(
        ("criterion", "closes_browsers", "lacking"),
        [("all", False, "clean_up_all_sessions"), ("expired", True, "close_browser")],
    )
    def test_changing_or_running_a_policy_requires_the_permissions_for_its_actions(
        self, client: Client, queued: Queued, criterion: str, closes_browsers: bool, lacking: str
    ) -> None:
        policy = make_policy("Team", criterion, schedule="0 2 * * *", closes_browsers=closes_browsers)
        run = plan(all=criterion == "all", expired=criterion == "expired")
        CleanupRun.objects.filter(pk=run.pk).update(closes_browsers=closes_browsers)
        user = User.objects.create_user("ada", is_staff=True)
        own = Permission.objects.filter(content_type__app_label="sessions_app")
        user.user_permissions.set(own.exclude(codename=lacking))
        client.force_login(user)
        posts = (
            f"{POLICIES}{policy.pk}/enable/",
            f"{POLICIES}{policy.pk}/run/",
            f"/admin/sessions_app/cleanuprun/{run.pk}/plan/",
        )
        assert [client.post(address).status_code for address in posts] == [403] * 3
        assert f"{POLICIES}{policy.pk}/run/" not in client.get(POLICIES).content.decode()
        assert client.get(f"{POLICIES}{policy.pk}/change/").context["has_change_permission"] is False
        user.user_permissions.set(own)
        assert 403 not in [client.post(address).status_code for address in posts]
