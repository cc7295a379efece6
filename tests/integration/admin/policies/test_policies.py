"""The form of a policy, its page and the list of policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from sessions_app import policies
from sessions_app.cleanup import run_cleanup
from sessions_app.models import CleanupPolicy, CleanupRun, PolicyChange
from sessions_app.models.clock import database_now
from tests.clients import POLICIES, Step, policy_form, post_policy, steps_of
from tests.factories import make_policy, make_session


def test_a_policy_is_added_with_its_steps_and_next_run(as_root: Client) -> None:
    post_policy(
        as_root, "add/", policy_form(("", "expired", "7"), ("1", "invalid", ""), ("", "expired", "1"))
    )
    policy = CleanupPolicy.objects.get(name="Team")
    assert steps_of(policy) == [(1, "invalid", None), (2, "expired", 7), (3, "expired", 1)]
    assert policy.next_run_at == policies.next_run(policy, after=database_now())
    change = PolicyChange.objects.get(policy=policy)
    assert (change.action, change.actor, change.before_json) == ("added", "root", None)
    assert change.after_json == policies.snapshot_of(policy)


def test_steps_are_swapped_added_and_removed(as_root: Client) -> None:
    policy = make_policy("Team", ("expired", 7), "invalid")
    post_policy(
        as_root,
        f"{policy.pk}/change/",
        policy_form(("2", "expired", "7"), ("1", "invalid", ""), policy=policy),
    )
    assert steps_of(policy) == [(1, "invalid", None), (2, "expired", 7)]
    data = policy_form(("1", "invalid", ""), ("2", "expired", "7"), ("9", "all", ""), policy=policy)
    post_policy(as_root, f"{policy.pk}/change/", {**data, "steps-0-DELETE": "on"})
    assert steps_of(policy) == [(1, "expired", 7), (2, "all", None)]


def test_disabling_clears_the_next_run(as_root: Client) -> None:
    policy = make_policy("Team", "invalid", schedule="0 2 * * *", is_enabled=True, next_run_at=database_now())
    post_policy(
        as_root, f"{policy.pk}/change/", policy_form(("1", "invalid", ""), policy=policy, is_enabled="")
    )
    policy.refresh_from_db()
    assert (policy.is_enabled, policy.next_run_at) == (False, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "0 2 * *"}, "Write five fields"),
        ({"schedule": "0 0 2 * * *"}, "This has 6."),
        ({"schedule": "@daily"}, "This has 1."),
        ({"schedule": "61 2 * * *"}, "The minute cannot be read."),
        ({"schedule": "0 0 30 2 *"}, "The day of month cannot be read."),
        ({"schedule": ""}, "An enabled policy needs a schedule"),
        ({"brake_percent": "0"}, "Choose a percentage above 0"),
        ({"brake_percent": "nan"}, "Enter a number."),
        ({"over_count": "-1"}, "cannot be negative"),
        ({"over_bytes": "9" * 25}, "less than or equal to"),
    ],
)
def test_invalid_values_are_refused_with_an_example(
    as_root: Client, changes: dict[str, Any], message: str
) -> None:
    assert message in post_policy(as_root, "add/", policy_form(("1", "invalid", ""), **changes))
    assert not CleanupPolicy.objects.filter(name="Team").exists()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((), "A policy needs at least one step"),
        ((("1", "invalid", "7"),), "A maximum age belongs to a step of expired sessions only."),
        ((("1", "expired", "0"),), "Choose an age above 0"),
        ((("1", "", "7"),), "This field is required."),
    ],
)
def test_invalid_steps_are_refused(as_root: Client, steps: tuple[Step, ...], message: str) -> None:
    assert message in post_policy(as_root, "add/", policy_form(*steps))
    assert not CleanupPolicy.objects.filter(name="Team").exists()


def test_the_last_step_cannot_be_removed(as_root: Client) -> None:
    policy = make_policy("Team", "invalid")
    data = {**policy_form(("1", "invalid", ""), policy=policy), "steps-0-DELETE": "on"}
    assert "A policy needs at least one step" in post_policy(as_root, f"{policy.pk}/change/", data)
    assert policy.steps.count() == 1


def test_an_empty_namespace_is_reported(as_root: Client) -> None:
    make_session(namespace="shop")
    html = post_policy(as_root, "add/", policy_form(("1", "invalid", ""), namespace="shpo"))
    assert "The namespace shpo has no sessions." in html


def test_the_page_shows_what_it_would_remove_and_has_removed(as_root: Client) -> None:
    make_session("bad", session_id="")
    policy = make_policy("Team", "invalid", "all")
    policies.sweep(policy, due_at=database_now(), trigger="admin", actor="root")
    make_session("worse", session_id="")
    make_session("dear", is_pinned=True)
    html = as_root.get(f"{POLICIES}{policy.pk}/change/").content.decode()
    assert "All sessions, pinned ones included" in html
    assert "1 of them is pinned." in html
    run = CleanupRun.objects.earliest("pk")
    assert f'<a href="/admin/sessions_app/cleanuprun/{run.pk}/change/">Run {run.pk}</a>' in html
    assert "Disable it instead." in html


def test_the_list_shows_last_runs_and_held_plans_in_few_queries(
    as_root: Client, django_assert_max_num_queries: Any
) -> None:
    make_session("bad", session_id="")
    for number in range(5):
        policy = make_policy(f"P{number}", "invalid", brake_count=0, schedule="0 2 * * *", is_enabled=True)
        policies.sweep(policy, due_at=database_now(), trigger="schedule")
    with django_assert_max_num_queries(8):
        html = as_root.get(POLICIES).content.decode()
    assert html.count('/change/"><span') == 5
    assert "At 02:00 every day" in html
    with django_assert_max_num_queries(25):
        as_root.get(f"{POLICIES}{policy.pk}/change/")


def test_the_list_links_to_a_held_plan(as_root: Client) -> None:
    make_session("bad", session_id="")
    policy = make_policy("Team", "invalid", brake_count=0)
    policies.sweep(policy, due_at=database_now() - timedelta(hours=1), trigger="schedule")
    held = CleanupRun.objects.get()
    badge = f'cleanuprun/{held.pk}/change/"><span'
    assert badge in as_root.get(POLICIES).content.decode()
    CleanupRun.objects.update(state="planned", approved_by="root", approved_at=database_now())
    held.refresh_from_db()
    assert run_cleanup(held).removed_count == 1
    assert badge not in as_root.get(POLICIES).content.decode()


def test_the_preview_is_calculated_for_a_page_and_not_for_a_save(
    as_root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy("Team", "invalid")
    asked: list[str] = []
    preview = policies.preview

    def count(policy: CleanupPolicy, **options: Any) -> policies.Preview:
        asked.append(policy.namespace)
        return preview(policy, **options)

    monkeypatch.setattr(policies, "preview", count)
    address = f"{POLICIES}{policy.pk}/change/"
    assert as_root.post(address, policy_form(("1", "invalid", ""), policy=policy)).status_code == 302
    assert asked == []
    wrong = policy_form(("1", "invalid", ""), policy=policy, namespace="shop", schedule="never")
    assert as_root.post(address, wrong).status_code == 200
    assert asked == [""], "what holds is shown, not what the form with the mistake says"


def test_numbers_of_a_policy_have_commas(as_root: Client) -> None:
    make_session("bad", session_id="")
    policy = make_policy("Team", "invalid")
    policies.sweep(policy, due_at=database_now(), trigger="schedule")
    CleanupRun.objects.update(matched_count=12_345, removed_count=1_234, removed_bytes=4_096)
    html = as_root.get(f"{POLICIES}{policy.pk}/change/").content.decode()
    assert "1,234 of 12,345" in html
    assert 'title="4,096 bytes"' in html
