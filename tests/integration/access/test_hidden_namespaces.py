"""Limited namespaces on the screens of storage, directories, policies and limits."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from sessions_app.access.namespaces import hidden_namespaces
from sessions_app.cleanup import plan_cleanup, undo_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import (
    CleanupPolicy,
    CleanupRun,
    LimitedNamespace,
    PolicyChange,
    SessionDirectory,
)
from sessions_app.session.criteria import Criteria
from tests.clients import LIST, RUNS, html_of, page_of, set_bounds
from tests.factories import AS_OF, OLD, make_session, swept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon", "limit")]


def test_the_storage_report_counts_visible_sessions(as_other: Client, as_member: Client) -> None:
    make_session("ours", **OLD)
    for number in range(3):
        make_session(f"theirs-{number}", namespace="payments", **OLD, is_pinned=number == 0)
    swept(expired=True, namespace="payments")
    address = f"{LIST}storage/report.json"
    seen, whole = (json.loads(client.get(address).content) for client in (as_other, as_member))
    assert (seen["sessions"], seen["archived"]["sessions"], seen["pinned"]) == (1, 0, 0)
    assert (whole["sessions"], whole["archived"]["sessions"], whole["pinned"]) == (2, 2, 1)
    for page in (f"{LIST}storage/", "/admin/", f"{LIST}storage/report.csv"):
        text = as_other.get(page).content.decode()
        assert "theirs" not in text, page
        assert "payments" not in text, page


def test_directories_of_a_hidden_namespace_are_not_found(
    as_other: Client, as_member: Client, tmp_path: Any
) -> None:
    screen = "/admin/sessions_app/sessiondirectory/"
    directory = register_directory(tmp_path, namespace="payments")
    assert str(tmp_path) not in html_of(as_other, screen)
    assert str(tmp_path) in html_of(as_member, screen)
    assert as_other.get(f"{screen}{directory.pk}/change/").status_code == 302
    assert as_other.post(f"{screen}{directory.pk}/sync/").status_code == 404
    folder = tmp_path / "another"
    folder.mkdir()
    html = as_other.post(f"{screen}add/", {"path": str(folder), "namespace": "payments"}).content.decode()
    assert "limited to other groups" in html
    html = as_other.post(f"{screen}add/", {"path": str(tmp_path), "namespace": "shop"}).content.decode()
    assert "already exists" in html
    assert "payments" not in html
    assert SessionDirectory.objects.count() == 1


def policy_data(policy: CleanupPolicy | None = None, **changes: str) -> dict[str, str]:
    return {
        "name": policy.name if policy else "New",
        "namespace": policy.namespace if policy else "",
        "brake_percent": "50",
        "steps-TOTAL_FORMS": "1",
        "steps-INITIAL_FORMS": "0",
        "steps-0-criterion": "expired",
        "protections-TOTAL_FORMS": "0",
        "protections-INITIAL_FORMS": "0",
        **changes,
    }


def test_only_users_who_see_all_namespaces_can_run_a_policy_over_all(
    as_other: Client, as_member: Client
) -> None:
    screen = "/admin/sessions_app/cleanuppolicy/"
    nightly = CleanupPolicy.objects.get(name="Nightly sweep")
    make_session("theirs", namespace="payments", **OLD)
    html = html_of(as_other, f"{screen}{nightly.pk}/change/")
    assert "Only users who can see all of them can change or run it" in html
    assert "What each step would remove now" not in html
    assert "Run now" not in html
    assert as_other.get(f"{screen}{nightly.pk}/run/").status_code == 403
    assert as_other.post(f"{screen}{nightly.pk}/run/").status_code == 403
    assert as_other.post(f"{screen}{nightly.pk}/change/", policy_data(nightly)).status_code == 403
    assert "Run now" in html_of(as_member, f"{screen}{nightly.pk}/change/")


def errors_of(response: Any) -> dict[str, list[str]]:
    form = response.context["adminform" if "adminform" in response.context else "form"]
    errors: dict[str, list[str]] = getattr(form, "form", form).errors
    return errors


@pytest.mark.parametrize(
    ("address", "data"),
    [
        ("cleanuppolicy/add/", policy_data()),
        ("sessiondirectory/add/", {"path": "/"}),
        ("browsersession/open-browser/", {"name": "login"}),
    ],
)
def test_a_form_does_not_confirm_that_a_hidden_namespace_exists(
    as_other: Client, other: User, address: str, data: dict[str, Any]
) -> None:
    other.user_permissions.add(Permission.objects.get(codename="close_browser"))
    hidden, impossible = (
        as_other.post(f"/admin/sessions_app/{address}", {**data, "namespace": namespace})
        for namespace in ("payments", "pay\u200bments")
    )
    assert list(errors_of(hidden)) == ["namespace"]
    assert errors_of(hidden) == errors_of(impossible)


@pytest.mark.parametrize(
    ("namespace", "message"), [("", "Enter a namespace"), ("payments", "limited to other groups")]
)
def test_a_policy_over_a_hidden_namespace_cannot_be_created(
    as_other: Client, as_member: Client, namespace: str, message: str
) -> None:
    address = "/admin/sessions_app/cleanuppolicy/add/"
    assert message in as_other.post(address, policy_data(namespace=namespace)).content.decode()
    assert not CleanupPolicy.objects.filter(name="New").exists()
    assert as_member.post(address, policy_data(namespace=namespace)).status_code == 302
    html = html_of(as_other, "/admin/sessions_app/cleanuppolicy/")
    assert (">New</a>" in html) is (namespace == "")


def test_policies_of_a_hidden_namespace_are_not_found(as_other: Client, as_member: Client) -> None:
    as_member.post("/admin/sessions_app/cleanuppolicy/add/", policy_data(namespace="payments"))
    policy = CleanupPolicy.objects.get(name="New")
    change = PolicyChange.objects.get(policy=policy)
    screen = "/admin/sessions_app/cleanuppolicy/"
    assert as_other.get(f"{screen}{policy.pk}/change/").status_code == 302
    assert as_other.get(f"{screen}{policy.pk}/run/").status_code == 404
    assert "New" not in html_of(as_other, screen)
    changes = "/admin/sessions_app/policychange/"
    assert "payments" not in html_of(as_other, changes)
    assert b"payments" not in as_other.get(f"{changes}export.csv").getvalue()
    assert as_other.get(f"{changes}{change.pk}/change/").status_code == 302
    assert "payments" in html_of(as_member, changes)


def test_a_policy_that_changed_its_namespace_does_not_reveal_a_hidden_one(
    as_other: Client, as_member: Client
) -> None:
    for before, now in (("", "payments"), ("payments", "default")):
        policy = CleanupPolicy.objects.create(name=f"wipe of {now}", namespace=before)
        due_at = AS_OF + timedelta(minutes=policy.pk)
        run = plan_cleanup(
            Criteria(invalid=True, namespace=before),
            trigger="schedule",
            step=policy.steps.create(criterion="invalid"),
            due_at=due_at,
        )
        CleanupRun.objects.filter(pk=run.pk).update(state="held")
        CleanupPolicy.objects.filter(pk=policy.pk).update(namespace=now)
        policies = html_of(as_other, "/admin/sessions_app/cleanuppolicy/")
        ledger = html_of(as_other, RUNS)
        if now == "payments":
            pages = (ledger, html_of(as_other, "/admin/"), html_of(as_other, f"{RUNS}{run.pk}/change/"))
            export = as_other.get(f"{RUNS}export.json").getvalue().decode()
            assert not [text for text in (*pages, export, policies) if policy.name in text]
            assert policy.name in html_of(as_member, RUNS)
        else:
            assert ">Needs approval<" not in policies[policies.index("<tbody>") :]
            assert f"Run {run.pk}<" not in policies + ledger


def test_users_with_the_permission_can_limit_a_namespace(
    as_root: Client, as_other: Client, other: User, team: Group
) -> None:
    screen = "/admin/sessions_app/limitednamespace/"
    client = Client()
    client.force_login(other)
    assert client.get(screen).status_code == 403
    as_root.force_login(User.objects.get(username="root"))
    html = html_of(as_root, screen)
    assert "Payments team" in html
    make_session(namespace="search")
    response = as_root.post(f"{screen}add/", {"namespace": "search", "groups": [team.pk]}, follow=True)
    assert "was added successfully" in response.content.decode()
    assert "Check its spelling." not in response.content.decode()
    limit = LimitedNamespace.objects.get(namespace="search")
    assert limit.group_ids == [team.pk]
    assert hidden_namespaces(other) == {"payments", "search"}
    assert "checked" in html_of(as_root, f"{screen}{limit.pk}/change/")
    response = as_root.post(f"{screen}add/", {"namespace": "serach"}, follow=True)
    assert "Check its spelling." in response.content.decode()
    assert "Superusers only" in html_of(as_root, screen)
    other.user_permissions.add(*Permission.objects.filter(codename__endswith="_limitednamespace"))
    assert "payments" in html_of(client, screen)


def test_a_snapshot_stores_the_parts_of_limited_namespaces(
    as_other: Client, as_member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions_app import reports, tasks
    from sessions_app.reports import figures, history, snapshots

    make_session("ours", **OLD)
    make_session("ours-too", **OLD, session_id="")
    for number in range(3):
        make_session(f"theirs-{number}", namespace="payments", **OLD, browser_type="firefox")
    swept(expired=True, namespace="payments", browser_type="firefox")
    make_session("theirs-large", namespace="payments", metadata={"x": "y" * 5_000})
    exact = reports.storage_report(as_of=AS_OF, max_age_days=7, hidden={"payments"})
    assert exact.by_namespace.keys() == {"shop"}
    monkeypatch.setattr(snapshots, "SMALL_COUNT", 1)
    hidden = frozenset({"payments"})
    assert figures(as_of=AS_OF, max_age_days=7, hidden=hidden) is None
    for _ in range(2):
        tasks.take_snapshot()
    found = figures(as_of=AS_OF, max_age_days=7, hidden=hidden)
    assert found is not None
    assert found.report.to_json() | {"as_of": "", "disk_bytes": None} == exact.to_json() | {
        "as_of": "",
        "disk_bytes": None,
    }
    assert (found.report.live.sessions, found.report.archived.sessions) == (2, 0)
    points = history(since=AS_OF - timedelta(days=1), hidden=hidden)
    assert [(point.session_count, point.archived_count) for point in points] == [(2, 0)] * 2
    html = html_of(as_other, f"{LIST}storage/")
    assert "theirs" not in html
    assert "payments" not in html
    # The snapshot has no part for a namespace that was limited after it.
    LimitedNamespace.objects.create(namespace="default")
    assert figures(as_of=AS_OF, max_age_days=7, hidden=hidden | {"default"}) is None
    assert history(since=AS_OF - timedelta(days=1), hidden=hidden | {"default"}) == []
    assert "have not been counted yet" in html_of(as_other, f"{LIST}storage/")


def test_a_list_does_not_reveal_the_size_of_a_hidden_run(
    as_other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_bounds(monkeypatch, READ_BOUND=3)
    for n in range(6):
        make_session(f"theirs-{n}", namespace="payments", **OLD)
    run = swept(expired=True, namespace="payments")
    pages = [html_of(as_other, f"/admin/sessions_app/archivedsession/?run={pk}") for pk in (run.pk, 9999)]
    assert not ["looked through" for html in pages if "looked through" in html]


def test_the_download_of_a_manual_plan_has_its_visible_sessions(as_other: Client, as_member: Client) -> None:
    ticked = [make_session("ours").pk, make_session("theirs", namespace="payments").pk]
    as_member.post(LIST, {"action": "clean_up", "_selected_action": ticked})
    address = f"{RUNS}{CleanupRun.objects.get().pk}/sessions.json"
    plan = json.loads(as_other.get(address).getvalue())
    assert [session["name"] for session in plan["sessions"]] == ["ours"]
    assert plan["criteria"]["session_ids"] == [0, 0]
    assert json.loads(as_member.get(address).getvalue())["criteria"]["session_ids"] == ticked


def test_nothing_of_a_hidden_namespace_is_counted(as_other: Client, as_member: Client) -> None:
    for number in range(7):
        make_session(f"theirs-{number}", namespace="payments", **OLD, metadata={"note": "a" * 1_111})
    ours = make_session("ours", **OLD)
    run = swept(expired=True)
    undo_cleanup(run)
    CleanupRun.objects.filter(pk=run.pk).update(
        criteria_json={**run.criteria_json, "selection": {"text": "theirs-6"}}
    )
    plan = plan_cleanup(Criteria(expired=True), trigger="admin")
    CleanupRun.objects.filter(pk=plan.pk).update(state="held", held_because="It removes 8 of 8 sessions.")
    hints = ("theirs", "payments", "8 sessions", "8 of 8", f"{run.removed_bytes:,}", str(run.removed_bytes))
    addresses = [
        *(page_of(ours), RUNS, "/admin/", f"{LIST}storage/", f"{LIST}storage/report.csv"),
        *(f"{RUNS}{number}/{place}" for number in (run.pk, plan.pk) for place in ("change/", "progress/")),
        *(f"{RUNS}{run.pk}/sessions.json", f"{RUNS}export.csv", f"{RUNS}export.json"),
    ]
    for address in addresses:
        shown, whole = (_content(client.get(address)) for client in (as_other, as_member))
        assert [hint for hint in hints if hint in shown] == [], address
        assert any(hint in whole for hint in hints) or address == f"{RUNS}{plan.pk}/progress/", address
    assert json.loads(as_other.get(f"{LIST}storage/report.json").content)["disk_bytes"] is None
    assert "on_disk" not in as_other.get(f"{LIST}storage/report.csv").content.decode()


def _content(response: Any) -> str:
    assert response.status_code == 200, response.request["PATH_INFO"]
    return str(response.getvalue().decode())
