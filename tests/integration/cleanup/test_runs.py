"""Runs remove and keep the right sessions, and record this in the archive and the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from sessions_app.cleanup import batches, run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from tests.factories import (
    AS_OF,
    KEPT_COLUMNS,
    OLD,
    archived,
    assert_counters_equal_rows,
    live,
    make_session,
    make_sessions,
    plan,
)

pytestmark = pytest.mark.django_db

State = CleanupRun.State
STORED = [*KEPT_COLUMNS]


@pytest.mark.parametrize(
    ("criteria", "taken"),
    [
        ({"expired": True}, ["old", "old-webkit", "other-old", "unreadable"]),
        ({"expired": True, "namespace": "shop"}, ["old", "old-webkit", "unreadable"]),
        ({"expired": True, "browser_type": "webkit"}, ["old-webkit"]),
        ({"expired": True, "max_age_days": 100}, ["unreadable"]),
        ({"invalid": True}, ["invalid", "unreadable"]),
        ({"expired": True, "invalid": True, "namespace": "bank"}, ["other-old"]),
        (
            {"all": True, "namespace": "shop"},
            ["invalid", "old", "old-webkit", "pinned-old", "unreadable", "valid"],
        ),
    ],
)
def test_a_run_removes_the_sessions_that_match_its_criteria(
    criteria: dict[str, Any], taken: list[str]
) -> None:
    make_session("valid")
    make_session("invalid", session_id="")
    make_session("old", **OLD)
    make_session("old-webkit", browser_type="webkit", **OLD)
    make_session("unreadable", last_accessed="?")
    make_session("pinned-old", is_pinned=True, **OLD)
    make_session("other-old", namespace="bank", **OLD)
    everything = live()
    run = run_cleanup(plan(**criteria))
    assert archived() == taken
    assert live() == [name for name in everything if name not in taken]
    assert run.state == State.SUCCEEDED
    assert (run.removed_count, run.skipped_count) == (len(taken), 0)
    assert run.removed_reasons == run.matched_reasons
    assert_counters_equal_rows(run)


def test_selected_sessions_are_removed_except_pinned_ones() -> None:
    chosen = [make_session("a").pk, make_session("b", is_pinned=True).pk, 999_999]
    make_session("c")
    run = run_cleanup(plan(session_ids=tuple(chosen)))
    assert archived() == ["a"]
    assert run.matched_count == 1
    assert run.removed_reasons == {"selected": 1}


def test_the_archive_holds_every_column_byte_for_byte_and_the_reasons() -> None:
    session = make_session("old", metadata={"title": "Übersicht \0 \ud83e"}, cdp_url="", **OLD)
    before = BrowserSession.objects.values("id", *STORED).get()
    run = run_cleanup(plan(expired=True, invalid=True))
    after = ArchivedSession.objects.values("id", *STORED).get()
    name = "content__document"
    assert bytes(after.pop(name)) == bytes(before.pop(name)) == session.document
    assert after == before
    assert ArchivedSession.objects.get().reasons == 2 + 256
    assert ArchivedSession.objects.get().run == run


Change = Callable[[BrowserSession], Any]
CHANGES: dict[str, Change] = {
    "touched": lambda s: BrowserSession.objects.filter(pk=s.pk).update(last_accessed=AS_OF),
    "pinned": lambda s: BrowserSession.objects.filter(pk=s.pk).update(is_pinned=True),
    "saved": lambda s: s.save(),
    "still expired, but written": lambda s: BrowserSession.objects.filter(pk=s.pk).update(
        browser_type="webkit"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_session_changed_after_the_preview_survives(change: str) -> None:
    changed = make_session("changed", **OLD)
    make_session("old", **OLD)
    run = plan(expired=True)
    CHANGES[change](changed)
    make_session("arrived-later", **OLD)
    run_cleanup(run)
    assert live() == ["arrived-later", "changed"]
    assert (run.matched_count, run.removed_count, run.skipped_count) == (2, 1, 1)


def test_large_documents_shrink_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    make_sessions(5, metadata={"har": "x" * 1_000}, **OLD)
    monkeypatch.setattr(batches, "BATCH_BYTES", 2_000)
    done: list[int] = []
    run_cleanup(plan(expired=True), progress=done.append)
    assert done == [2, 2, 1]


def test_the_actor_of_a_run_is_the_user_who_ran_it() -> None:
    make_session("old", **OLD)
    run = run_cleanup(plan(expired=True), trigger="admin", actor="operator")
    assert (run.trigger, run.actor) == ("admin", "operator")


def test_sessions_changed_while_the_plan_was_made_are_reported_as_skipped() -> None:
    make_sessions(3, **OLD)
    changed = BrowserSession.objects.earliest("pk")

    def change(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # The plan has counted the sessions and not listed them yet.
        if sql.startswith("INSERT") and "cleanuprun" in sql:
            BrowserSession.objects.filter(pk=changed.pk).update(last_accessed=AS_OF)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(change):
        run = plan(expired=True)
    run_cleanup(run)
    assert run.removed_count + run.skipped_count == run.matched_count
    assert [row["name"] for row in run.skipped_sessions] == [changed.name] * run.skipped_count
