from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_app import policies
from sessions_app.cleanup import run_cleanup
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, PolicyChange
from sessions_app.models.clock import database_now
from tests.integration.admin_sessions import make_session
from tests.integration.policies import make_policy

POLICIES = "/admin/sessions_app/cleanuppolicy/"
CHANGES = "/admin/sessions_app/policychange/"
FIELDS = {
    "name": "Team",
    "description": "For the team.",
    "namespace": "",
    "schedule": "30 6 * * 1-5",
    "is_enabled": "on",
    "over_count": "",
    "over_bytes": "",
    "brake_count": "",
    "brake_percent": "50",
}
Step = tuple[str, str, str]


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sessions_app.admin.policies.async_task", lambda *args: calls.append(args))
    return calls


def form(*steps: Step, policy: CleanupPolicy | None = None, **changes: Any) -> dict[str, str]:
    """What the form sends: steps as place, criterion and age; those that a policy has come first."""
    ids = [step.pk for step in policy.steps.all()] if policy else []
    data = {
        **FIELDS,
        **changes,
        "steps-TOTAL_FORMS": str(len(steps)),
        "steps-INITIAL_FORMS": str(len(ids)),
    }
    for number, (place, criterion, age) in enumerate(steps):
        data |= {
            f"steps-{number}-place": place,
            f"steps-{number}-criterion": criterion,
            f"steps-{number}-max_age_days": age,
        }
        if number < len(ids):
            data |= {
                f"steps-{number}-id": str(ids[number]),
                f"steps-{number}-policy": str(policy and policy.pk),
            }
    return {name: value for name, value in data.items() if not (name == "is_enabled" and not value)}


def send(client: Client, address: str, data: dict[str, str]) -> str:
    return client.post(f"{POLICIES}{address}", data, follow=True).content.decode()


def look_at(client: Client, policy: CleanupPolicy) -> dict[str, str]:
    """What the page that asks whether to run a policy now sends."""
    html = client.get(f"{POLICIES}{policy.pk}/run/").content.decode()
    return dict(re.findall(r'<input type="hidden" name="(policy|due_at)" value="([^"]+)">', html))


def start(client: Client, policy: CleanupPolicy, seen: dict[str, str]) -> str:
    return client.post(f"{POLICIES}{policy.pk}/run/", seen, follow=True).content.decode()


def steps_of(policy: CleanupPolicy) -> list[tuple[int, str, float | None]]:
    return list(policy.steps.values_list("position", "criterion", "max_age_days"))


def test_a_policy_is_added_with_its_steps_and_told_when_it_is_due(as_root: Client) -> None:
    send(as_root, "add/", form(("", "expired", "7"), ("1", "invalid", ""), ("", "expired", "1")))
    policy = CleanupPolicy.objects.get(name="Team")
    assert steps_of(policy) == [(1, "invalid", None), (2, "expired", 7), (3, "expired", 1)]
    assert policy.next_run_at == policies.next_run(policy, after=database_now())
    change = PolicyChange.objects.get(policy=policy)
    assert (change.action, change.actor, change.before_json) == ("added", "root", None)
    assert change.after_json == policies.snapshot_of(policy)


def test_steps_are_swapped_added_and_removed(as_root: Client) -> None:
    policy = make_policy("Team", ("expired", 7), "invalid")
    send(as_root, f"{policy.pk}/change/", form(("2", "expired", "7"), ("1", "invalid", ""), policy=policy))
    assert steps_of(policy) == [(1, "invalid", None), (2, "expired", 7)]
    data = form(("1", "invalid", ""), ("2", "expired", "7"), ("9", "all", ""), policy=policy)
    send(as_root, f"{policy.pk}/change/", {**data, "steps-0-DELETE": "on"})
    assert steps_of(policy) == [(1, "expired", 7), (2, "all", None)]


def test_a_change_is_kept_with_what_was_before(as_root: Client) -> None:
    policy = make_policy("Team", "invalid", schedule="0 2 * * *", is_enabled=True)
    send(as_root, f"{policy.pk}/change/", form(("1", "invalid", ""), policy=policy, schedule="0  4 * * *"))
    change = PolicyChange.objects.get(policy=policy)
    assert change.before_json is not None
    assert change.after_json is not None
    assert (change.before_json["schedule"], change.after_json["schedule"]) == ("0 2 * * *", "0 4 * * *")
    for address in (CHANGES, f"{CHANGES}{change.pk}/change/", f"{POLICIES}{policy.pk}/change/"):
        assert "Schedule: 0 2 * * * → 0 4 * * *" in as_root.get(address).content.decode()
    policy.refresh_from_db()
    assert policy.next_run_at is not None
    assert policy.next_run_at.hour == 4


def test_saving_what_is_the_same_is_no_change(as_root: Client) -> None:
    policy = make_policy("Team", "invalid")
    data = form(
        ("1", "invalid", ""), policy=policy, schedule="", is_enabled="", description="", brake_percent=""
    )
    send(as_root, f"{policy.pk}/change/", data)
    assert not PolicyChange.objects.filter(policy=policy).exists()


def test_disabling_takes_the_next_run_away(as_root: Client) -> None:
    policy = make_policy("Team", "invalid", schedule="0 2 * * *", is_enabled=True, next_run_at=database_now())
    send(as_root, f"{policy.pk}/change/", form(("1", "invalid", ""), policy=policy, is_enabled=""))
    policy.refresh_from_db()
    assert (policy.is_enabled, policy.next_run_at) == (False, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "0 2 * *"}, "Write five fields"),
        ({"schedule": "0 0 2 * * *"}, "There are 6 here."),
        ({"schedule": "@daily"}, "There is 1 here."),
        ({"schedule": "61 2 * * *"}, "The minute cannot be read."),
        ({"schedule": "0 0 30 2 *"}, "The day of month cannot be read."),
        ({"schedule": ""}, "An enabled policy needs a schedule"),
        ({"brake_percent": "0"}, "Choose a percentage above 0"),
        ({"brake_percent": "nan"}, "Enter a number."),
        ({"over_count": "-1"}, "cannot be negative"),
        ({"over_bytes": "9" * 25}, "less than or equal to"),
    ],
)
def test_what_cannot_be_is_refused_with_an_example(
    as_root: Client, changes: dict[str, Any], message: str
) -> None:
    assert message in send(as_root, "add/", form(("1", "invalid", ""), **changes))
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
def test_steps_that_cannot_be_are_refused(as_root: Client, steps: tuple[Step, ...], message: str) -> None:
    assert message in send(as_root, "add/", form(*steps))
    assert not CleanupPolicy.objects.filter(name="Team").exists()


def test_the_last_step_cannot_be_removed(as_root: Client) -> None:
    policy = make_policy("Team", "invalid")
    data = {**form(("1", "invalid", ""), policy=policy), "steps-0-DELETE": "on"}
    assert "A policy needs at least one step" in send(as_root, f"{policy.pk}/change/", data)
    assert policy.steps.count() == 1


def test_a_namespace_that_nothing_is_in_is_told(as_root: Client) -> None:
    make_session(namespace="shop")
    html = send(as_root, "add/", form(("1", "invalid", ""), namespace="shpo"))
    assert "No session is in the namespace shpo yet." in html


def test_the_page_tells_what_it_would_take_and_what_it_took(as_root: Client) -> None:
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
    assert "disable it rather than delete it" in html


def test_a_policy_with_runs_stays_and_another_is_deleted_and_kept_in_the_ledger(as_root: Client) -> None:
    policy = make_policy("Team", "invalid")
    assert as_root.post(f"{POLICIES}{policy.pk}/delete/", {"post": "yes"}).status_code == 302
    change = PolicyChange.objects.get(policy_name="Team")
    assert (change.policy, change.action, change.actor, change.after_json) == (None, "deleted", "root", None)
    assert "Steps: 1. Invalid sessions" in as_root.get(CHANGES).content.decode()
    policy = make_policy("Team", "invalid")
    policies.sweep(policy, due_at=database_now(), trigger="admin")
    assert as_root.post(f"{POLICIES}{policy.pk}/delete/", {"post": "yes"}).status_code == 403
    assert CleanupPolicy.objects.filter(pk=policy.pk).exists()


def test_the_list_tells_last_runs_and_what_waits_in_few_queries(
    as_root: Client, django_assert_max_num_queries: Any
) -> None:
    make_session("bad", session_id="")
    for number in range(5):
        policy = make_policy(f"P{number}", "invalid", brake_count=0, schedule="0 2 * * *", is_enabled=True)
        policies.sweep(policy, due_at=database_now(), trigger="schedule")
    with django_assert_max_num_queries(8):
        html = as_root.get(POLICIES).content.decode()
    assert html.count("Waits for a person") == 5
    assert "At 02:00 every day" in html
    with django_assert_max_num_queries(24):
        as_root.get(f"{POLICIES}{policy.pk}/change/")


class TestRunNow:
    def test_shows_what_would_go_and_leaves_it_to_the_worker(
        self, as_root: Client, queued: list[tuple[Any, ...]]
    ) -> None:
        make_session("bad", session_id="")
        policy = make_policy("Team", "invalid", brake_count=0)
        html = as_root.get(f"{POLICIES}{policy.pk}/run/").content.decode()
        assert "Held for a person." in html
        assert not queued
        assert "is on its way in the worker" in start(as_root, policy, look_at(as_root, policy))
        ((name, pk, due_at, *origin),) = queued
        assert (name, pk, origin) == ("sessions_app.tasks.sweep", policy.pk, ["admin", "root"])
        from sessions_app import tasks

        assert "It waits for a person." in tasks.sweep(pk, due_at, *origin)
        run = CleanupRun.objects.get()
        assert (run.trigger, run.actor, run.state) == ("admin", "root", "held")

    def test_beside_a_run_at_work_is_refused(self, as_root: Client, queued: list[tuple[Any, ...]]) -> None:
        policy = make_policy("Team", "invalid")
        policies.sweep(policy, due_at=database_now(), trigger="schedule")
        CleanupRun.objects.update(state="running")
        html = start(as_root, policy, look_at(as_root, policy))
        assert f"is already running: run {CleanupRun.objects.get().pk}." in html
        assert not queued

    def test_of_all_sessions_waits_until_somebody_types_the_number(
        self, as_root: Client, queued: list[tuple[Any, ...]]
    ) -> None:
        for number in range(3):
            make_session(f"fresh-{number}")
        make_session("dear", is_pinned=True)
        policy = make_policy("CI", "all", brake_percent=50)
        told = "Started by hand, it would take 4 of 4 sessions: somebody has to type the number."
        assert told in as_root.get(f"{POLICIES}{policy.pk}/run/").content.decode()
        start(as_root, policy, look_at(as_root, policy))
        from sessions_app import tasks

        tasks.sweep(*queued[0][1:])
        run = CleanupRun.objects.get()
        assert (run.state, run.held_because, BrowserSession.objects.count()) == ("held", told, 4)
        page = f"/admin/sessions_app/cleanuprun/{run.pk}/plan/"
        as_root.post(page, {"approve": "1"})
        assert BrowserSession.objects.count() == 4
        as_root.post(page, {"approve": "1", "number": "4"})
        assert BrowserSession.objects.count() == 0

    def test_of_a_policy_that_was_changed_meanwhile_is_refused(
        self, as_root: Client, queued: list[tuple[Any, ...]]
    ) -> None:
        policy = make_policy("Team", "invalid")
        seen = look_at(as_root, policy)
        policy.steps.update(criterion="all")
        assert "The policy was changed meanwhile: look at it again." in start(as_root, policy, seen)
        assert not queued

    @pytest.mark.parametrize("due_at", ["", "soon", "2026-11-22T12:00:00", "yesterday", "tomorrow"])
    def test_of_what_was_not_looked_at_just_now_is_refused(
        self, as_root: Client, queued: list[tuple[Any, ...]], due_at: str
    ) -> None:
        hours = {"yesterday": -25, "tomorrow": 1}.get(due_at)
        policy = make_policy("Team", "invalid")
        instant = due_at if hours is None else (database_now() + timedelta(hours=hours)).isoformat()
        told = start(as_root, policy, {**look_at(as_root, policy), "due_at": instant})
        assert "look at it again" in told
        assert not queued

    def test_sent_twice_is_one_sweep(self, as_root: Client, queued: list[tuple[Any, ...]]) -> None:
        for name in ("bad", "fine", "good"):
            make_session(name, **({"session_id": ""} if name == "bad" else {}))
        policy = make_policy("Team", "invalid", brake_count=0)
        seen = look_at(as_root, policy)
        from sessions_app import tasks

        for _ in range(2):
            start(as_root, policy, seen)
            tasks.sweep(*queued[-1][1:])
        assert [run.state for run in CleanupRun.objects.all()] == ["held"]

    @pytest.mark.parametrize(("days", "is_told"), [(0, True), (14, False)])
    def test_tells_what_cannot_be_undone(
        self, as_root: Client, settings: Any, days: float, is_told: bool
    ) -> None:
        settings.RAPTOR_ARCHIVE_DAYS = days
        for name in ("bad", "fine", "good"):
            make_session(name, **({"session_id": ""} if name == "bad" else {}))
        html = as_root.get(f"{POLICIES}{make_policy('Team', 'invalid').pk}/run/").content.decode()
        assert ("RAPTOR_ARCHIVE_DAYS is 0" in html, "Deleted for good" in html) == (is_told, is_told)
        assert ("Moved to the archive" in html) is not is_told

    def test_of_no_policy_is_not_found(self, as_root: Client) -> None:
        assert as_root.get(f"{POLICIES}999999/run/").status_code == 404


class TestPermissions:
    def test_a_viewer_sees_and_changes_nothing(
        self, client: Client, viewer: User, queued: list[tuple[Any, ...]]
    ) -> None:
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
        data = form(("1", "all", ""), policy=policy)
        assert client.post(f"{POLICIES}{policy.pk}/change/", data).status_code == 403
        assert steps_of(policy) == [(1, "expired", 3)]
        assert client.get(CHANGES).status_code == 403
        assert not queued

    def test_who_cleans_up_runs_it_and_does_not_change_it(
        self, client: Client, operator: User, queued: list[tuple[Any, ...]]
    ) -> None:
        client.force_login(operator)
        policy = make_policy("Team")
        assert "Run now" in client.get(f"{POLICIES}{policy.pk}/change/").content.decode()
        start(client, policy, look_at(client, policy))
        assert len(queued) == 1
        assert client.post(f"{POLICIES}{policy.pk}/change/", form(policy=policy)).status_code == 403

    def test_who_may_change_policies_and_clean_up_may_change_their_steps(
        self, client: Client, viewer: User
    ) -> None:
        allowed = Permission.objects.filter(codename__in=("change_cleanuppolicy", "clean_up_sessions"))
        viewer.user_permissions.add(*allowed)
        client.force_login(viewer)
        policy = make_policy("Team", "invalid")
        send(client, f"{policy.pk}/change/", form(("1", "expired", "2"), policy=policy))
        assert steps_of(policy) == [(1, "expired", 2)]

    def test_who_may_not_clean_up_cannot_let_a_policy_do_it(self, client: Client, viewer: User) -> None:
        codenames = [f"{action}_cleanuppolicy" for action in ("add", "change", "delete")]
        viewer.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
        client.force_login(viewer)
        policy = make_policy("Team", "invalid")
        everything = form(("1", "all", ""), schedule="* * * * *", brake_percent="")
        assert client.post(f"{POLICIES}add/", {**everything, "name": "Mine"}).status_code == 403
        changed = form(("1", "all", ""), policy=policy)
        assert client.post(f"{POLICIES}{policy.pk}/change/", changed).status_code == 403
        assert client.post(f"{POLICIES}{policy.pk}/delete/", {"post": "yes"}).status_code == 403
        assert steps_of(policy) == [(1, "invalid", None)]
        assert 'name="_save"' not in client.get(f"{POLICIES}{policy.pk}/change/").content.decode()

    def test_the_page_shows_runs_and_changes_to_those_who_may_see_them(
        self, client: Client, viewer: User
    ) -> None:
        policy = make_policy("Team", "invalid", brake_count=0)
        make_session("bad", session_id="")
        policies.sweep(policy, due_at=database_now(), trigger="schedule")
        policies.record_change(policy, "changed", "the-author", None, policies.snapshot_of(policy))
        link = f"/admin/sessions_app/cleanuprun/{CleanupRun.objects.get().pk}/change/"
        addresses = (POLICIES, f"{POLICIES}{policy.pk}/change/")

        def pages() -> str:
            client.force_login(User.objects.get(pk=viewer.pk))
            return "".join(client.get(address).content.decode() for address in addresses)

        assert (pages().count(link), "the-author" in pages()) == (3, False)
        viewer.user_permissions.add(Permission.objects.get(codename="view_policychange"))
        viewer.user_permissions.remove(Permission.objects.get(codename="view_cleanuprun"))
        assert (pages().count(link), "the-author" in pages()) == (0, True)

    def test_the_ledger_is_append_only(self, as_root: Client) -> None:
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


def test_a_held_plan_of_a_policy_leads_from_the_list_to_its_run(as_root: Client) -> None:
    make_session("bad", session_id="")
    policy = make_policy("Team", "invalid", brake_count=0)
    policies.sweep(policy, due_at=database_now() - timedelta(hours=1), trigger="schedule")
    held = CleanupRun.objects.get()
    assert f"/admin/sessions_app/cleanuprun/{held.pk}/change/" in as_root.get(POLICIES).content.decode()
    CleanupRun.objects.update(state="planned", approved_by="root", approved_at=database_now())
    held.refresh_from_db()
    assert run_cleanup(held).removed_count == 1
    assert "Waits for a person" not in as_root.get(POLICIES).content.decode()


class TestLedgerOfChanges:
    @pytest.fixture
    def changes(self) -> list[PolicyChange]:
        """What two people did, the first of them long ago."""
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

    def test_leaves_as_csv_and_as_json(self, as_root: Client, changes: list[PolicyChange]) -> None:
        text = as_root.get(f"{CHANGES}export.csv").getvalue().decode()
        latest, first = csv.DictReader(io.StringIO(text))
        assert (latest["policy"], latest["actor"], first["actor"]) == ("'=Team", "carol", "root")
        assert (latest["what"], first["before"]) == ("Namespace: none → shop", "")
        assert json.loads(latest["after"])["namespace"] == "shop"
        told = json.loads(as_root.get(f"{CHANGES}export.json").getvalue())
        assert [change["change"] for change in told["changes"]] == [changes[1].pk, changes[0].pk]
        assert told["changes"][1]["after"] == changes[0].after_json
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
        told = json.loads(response.getvalue())
        assert [change["actor"] for change in told["changes"]] == actors
        assert as_root.get(f"{CHANGES}?{query}").status_code == 200

    def test_never_leaves_whole_by_a_mistake_in_the_address(
        self, as_root: Client, changes: list[PolicyChange]
    ) -> None:
        for query in ("changed=zzz", "before_json__name=x"):
            assert as_root.get(f"{CHANGES}export.csv?{query}").status_code == 400

    def test_leaves_to_those_who_may_see_it(
        self, client: Client, viewer: User, changes: list[PolicyChange]
    ) -> None:
        client.force_login(viewer)
        for kind in ("csv", "json"):
            assert client.get(f"{CHANGES}export.{kind}").status_code == 403

    @pytest.mark.django_db
    def test_tells_what_the_policies_of_the_installation_were(self) -> None:
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


def test_what_it_would_take_is_reckoned_for_a_page_and_not_for_a_save(
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
    assert as_root.post(address, form(("1", "invalid", ""), policy=policy)).status_code == 302
    assert asked == []
    wrong = form(("1", "invalid", ""), policy=policy, namespace="shop", schedule="never")
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
