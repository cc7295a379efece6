"""The list of cleanup runs: its filters and exports, and that it is read-only."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sessions_app.admin import filters, streaming
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria
from tests.factories import ENDPOINT, SECRET, make_session

RUNS = "/admin/sessions_app/cleanuprun/"
COLUMNS = (
    "run,state,trigger,actor,policy,step,criteria,as_of,planned_at,started_at,finished_at,seconds,matched,"
    "removed,skipped,bytes,before_bytes,after_bytes,restored,emptied,held_because,approved_by,closed_by,"
    "undone_by,error"
)


def make_run(**values: Any) -> CleanupRun:
    now = database_now()
    defaults = {"trigger": "command", "state": "succeeded", "criteria_json": {"invalid": True}}
    return CleanupRun.objects.create(**{"as_of": now, "sealed_at": now, **defaults, **values})


@pytest.fixture
def runs(db: None) -> dict[str, int]:
    """Runs of all kinds, by their special property."""
    policy = CleanupPolicy.objects.create(name="Nightly of the shop")
    month_ago = database_now() - timedelta(days=40)
    made = {
        "plain": make_run(actor="ada"),
        "held": make_run(state="held", trigger="schedule", policy=policy, step_position=1),
        "old": make_run(planned_at=month_ago, actor="grace"),
        "removed": make_run(matched_count=3, removed_count=2, skipped_count=1),
        "failed": make_run(state="failed", error="=1+1"),
    }
    return {name: run.pk for name, run in made.items()}


def exported(client: Client, query: str = "") -> list[dict[str, str]]:
    response = client.get(f"{RUNS}export.csv?{query}")
    assert response.streaming
    return list(csv.DictReader(io.StringIO(response.getvalue().decode())))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"plain", "held", "old", "removed", "failed"}),
        ("outcome=waits", {"held"}),
        ("outcome=removed", {"removed"}),
        ("outcome=nothing", {"plain", "old"}),
        ("outcome=skipped", {"removed"}),
        ("outcome=stopped", {"failed"}),
        ("state__exact=failed", {"failed"}),
        ("trigger__exact=schedule", {"held"}),
        ("policy=none", {"plain", "old", "removed", "failed"}),
        ("policy=x", set()),
        ("planned=today", {"plain", "held", "removed", "failed"}),
        ("planned=7", {"plain", "held", "removed", "failed"}),
        ("planned=30", {"plain", "held", "removed", "failed"}),
        ("q=gra", {"old"}),
        ("q=nobody", set()),
        ("outcome=nothing&q=ada&planned=7", {"plain"}),
    ],
)
def test_list_and_exports_have_the_same_filters(
    as_viewer: Client, runs: dict[str, int], query: str, names: set[str]
) -> None:
    expected = {runs[name] for name in names}
    shown = as_viewer.get(f"{RUNS}?{query}").context["cl"].queryset
    assert {run.pk for run in shown} == expected
    assert {int(row["run"]) for row in exported(as_viewer, query)} == expected
    exported_json = json.loads(as_viewer.get(f"{RUNS}export.json?{query}").getvalue())
    assert {run["run"] for run in exported_json["runs"]} == expected


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("rule=expired", {"expired", "both"}),
        ("rule=invalid", {"both"}),
        ("rule=all", {"all"}),
        ("rule=selected", {"selected"}),
        ("rule=vanished", {"vanished"}),
        ("namespace=shop", {"expired", "vanished"}),
        ("namespace=sho", set()),
        ("namespace=", {"both", "all", "selected"}),
        ("namespace=shop&rule=expired", {"expired"}),
    ],
)
def test_runs_are_found_by_their_rule_and_their_namespace(
    as_viewer: Client, query: str, names: set[str]
) -> None:
    criteria = {
        "expired": Criteria(expired=True, namespace="shop"),
        "both": Criteria(expired=True, invalid=True),
        "all": Criteria(all=True),
        "selected": Criteria(session_ids=(7, 8)),
        "vanished": Criteria(session_ids=(7,), has_vanished=True, namespace="shop"),
    }
    made = {name: make_run(criteria_json=asked.to_json()).pk for name, asked in criteria.items()}
    expected = {made[name] for name in names}
    assert {run.pk for run in as_viewer.get(f"{RUNS}?{query}").context["cl"].queryset} == expected
    assert {int(row["run"]) for row in exported(as_viewer, query)} == expected


def test_a_run_is_found_by_its_number_and_its_policy(as_viewer: Client, runs: dict[str, int]) -> None:
    for query in (f"q={runs['old']}", f"q=Run+{runs['old']}"):
        assert [int(row["run"]) for row in exported(as_viewer, query)] == [runs["old"]]
    policy = CleanupPolicy.objects.get(name="Nightly of the shop")
    (row,) = exported(as_viewer, f"policy={policy.pk}")
    assert (row["policy"], row["step"], row["criteria"]) == ("Nightly of the shop", "1", "invalid")
    assert "Nightly of the shop" in as_viewer.get(f"{RUNS}?outcome=waits").content.decode()


def test_the_links_to_the_exports_keep_the_filters(as_viewer: Client, runs: dict[str, int]) -> None:
    html = as_viewer.get(f"{RUNS}?outcome=waits&q=x").content.decode()
    assert f'href="{RUNS}export.csv?outcome=waits&amp;q=x"' in html
    assert f'href="{RUNS}export.json?outcome=waits&amp;q=x"' in html


def test_the_export_has_all_columns_the_newest_run_first(as_viewer: Client, runs: dict[str, int]) -> None:
    text = as_viewer.get(f"{RUNS}export.csv").getvalue().decode()
    assert text.splitlines()[0].replace('"', "") == COLUMNS
    assert [int(row["run"]) for row in exported(as_viewer)] == sorted(runs.values(), reverse=True)
    assert exported(as_viewer, "outcome=stopped")[0]["error"] == "'=1+1"


def test_the_export_has_the_results_of_a_run(as_viewer: Client) -> None:
    make_session("bad", session_id="")
    make_session("fine")
    run = run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="command", actor="ada"))
    run.refresh_from_db()
    (row,) = json.loads(as_viewer.get(f"{RUNS}export.json").getvalue())["runs"]
    assert (row["matched"], row["removed"], row["bytes"]) == (1, 1, run.removed_bytes)
    assert row["before_bytes"] - row["after_bytes"] == run.removed_bytes
    assert row["seconds"] >= 0
    assert row["as_of"] == run.as_of.isoformat()


def test_an_exported_error_has_no_endpoint(as_viewer: Client) -> None:
    make_run(state="failed", error=f"DataError: {ENDPOINT}")
    for kind in ("csv", "json"):
        assert SECRET not in as_viewer.get(f"{RUNS}export.{kind}").getvalue().decode()


def test_list_and_export_take_few_queries_and_no_large_column(
    as_viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = CleanupPolicy.objects.create(name="Nightly of the shop")

    def queries_of(address: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            response = as_viewer.get(address)
            assert response.status_code == 200
            if response.streaming:
                response.getvalue()
        assert not [query for query in queries if '"skipped_sessions"' in query["sql"]]
        return len(queries)

    addresses = (RUNS, f"{RUNS}export.csv", f"{RUNS}export.json")
    make_run(policy=policy)
    few = [queries_of(address) for address in addresses]
    for _ in range(60):
        make_run(policy=policy)
    assert [queries_of(address) for address in addresses] == few
    assert max(few) <= 15
    monkeypatch.setattr(streaming, "CHUNK_ROWS", 10)
    assert queries_of(addresses[1]) == few[1] + 6
    assert len(exported(as_viewer)) == 61


def test_list_and_export_describe_a_selection_without_reading_its_ids(as_viewer: Client) -> None:
    make_run(criteria_json=Criteria(session_ids=tuple(range(10_000))).to_json())
    make_run(criteria_json=Criteria(expired=True, namespace="shop").to_json())
    for address in (RUNS, f"{RUNS}export.csv"):
        with CaptureQueriesContext(connection) as queries:
            response = as_viewer.get(address)
            html = (response.getvalue() if response.streaming else response.content).decode()
        assert "10,000 selected" in html
        assert "expired (last accessed over 7 days ago), in namespace shop" in html
        assert not [query for query in queries if '"criteria_json", "' in query["sql"]]


def test_an_export_requires_a_permission(client: Client, outsider: User) -> None:
    for kind in ("csv", "json"):
        assert client.get(f"{RUNS}export.{kind}").status_code == 302
        client.force_login(outsider)
        assert client.get(f"{RUNS}export.{kind}").status_code == 302
    outsider.is_staff = True
    outsider.save()
    client.force_login(outsider)
    assert client.get(f"{RUNS}export.csv").status_code == 403


@pytest.mark.parametrize("query", ["planned=zzz", "outcome=", "rule=zzz", "planned=7&actor__startswith=a"])
def test_the_export_refuses_an_unknown_filter_value(as_viewer: Client, query: str) -> None:
    make_run()
    for kind in ("csv", "json"):
        assert as_viewer.get(f"{RUNS}export.{kind}?{query}").status_code == 400


@pytest.fixture
def ledger_row(root: User, client: Client) -> Iterator[CleanupRun]:
    """A run that must stay unchanged, with a superuser logged in."""
    client.force_login(root)
    run = make_run(actor="ada", matched_count=3, removed_count=2)
    before = CleanupRun.objects.filter(pk=run.pk).values().get()
    yield run
    assert CleanupRun.objects.values().get() == before


def test_runs_cannot_be_added_by_form(client: Client, ledger_row: CleanupRun) -> None:
    assert client.get(f"{RUNS}add/").status_code == 403
    assert client.post(f"{RUNS}add/", {"trigger": "admin"}).status_code == 403


def test_runs_cannot_be_changed_by_form(client: Client, ledger_row: CleanupRun) -> None:
    client.post(f"{RUNS}{ledger_row.pk}/change/", {"actor": "eve", "removed_count": "0", "_save": "Save"})
    client.post(RUNS, {"form-0-id": ledger_row.pk, "form-0-actor": "eve", "_save": "Save"})


def test_runs_cannot_be_deleted(client: Client, ledger_row: CleanupRun) -> None:
    address = f"{RUNS}{ledger_row.pk}/delete/"
    assert client.get(address).status_code == 403
    assert client.post(address, {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": ledger_row.pk, "post": "yes"}
    client.post(RUNS, data)


def test_the_hidden_previews_are_counted_once(as_viewer: Client) -> None:
    for _ in range(2):
        make_run(state="planned")
    with CaptureQueriesContext(connection) as queries:
        html = as_viewer.get(RUNS).content.decode()
    assert "2 previews that were not run are not listed" in html
    counts = [query["sql"] for query in queries if "COUNT(*)" in query["sql"]]
    # The other query counts the listed runs.
    assert len(counts) == 2
    assert not any("criteria_json" in sql for sql in counts)


@pytest.mark.parametrize("address", [RUNS, "/admin/sessions_app/archivedsession/"])
def test_filters_offer_the_first_policies_and_the_chosen_one(
    as_viewer: Client, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(filters, "POLICIES_SHOWN", 2)
    CleanupPolicy.objects.all().delete()
    first, second, third, last = (CleanupPolicy.objects.create(name=name).pk for name in "abcd")
    html = as_viewer.get(f"{address}?policy={last}").content.decode()
    assert [pk for pk in (first, second, third, last) if f"?policy={pk}" in html] == [first, second, last]
