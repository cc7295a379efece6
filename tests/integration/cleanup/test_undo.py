"""Complete and partial undos, and emptying the archive."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from sessions_app.cleanup import (
    CannotUndo,
    CleanupInProgress,
    empty_archive,
    mark_stalled_runs,
    restore_sessions,
    run_cleanup,
    undo_cleanup,
)
from sessions_app.deadline import Deadline
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionEvent
from sessions_app.models.clock import database_now
from tests.factories import (
    KEPT_COLUMNS,
    OLD,
    archived,
    forget_sessions,
    live,
    make_session,
    make_sessions,
    plan,
    swept,
)
from tests.faults import Died, Faulty

pytestmark = pytest.mark.django_db

State = CleanupRun.State


def rows() -> list[dict[str, Any]]:
    return [
        {**row, "content__document": bytes(row["content__document"])}
        for row in BrowserSession.objects.order_by("pk").values(*KEPT_COLUMNS)
    ]


def test_an_undo_restores_every_session_byte_for_byte_with_its_pin() -> None:
    make_session("old", metadata={"title": "Übersicht \0 \ud83e"}, **OLD)
    make_session("pinned", is_pinned=True, cdp_url="")
    make_session("other", namespace="bank", last_accessed=None)
    before = rows()
    run = swept(all=True)
    finished_at = run.finished_at
    assert live() == []
    undo_cleanup(run, actor="tester")
    assert run.finished_at == finished_at
    assert run.undone_at is not None
    assert rows() == before
    assert archived() == []
    assert (run.state, run.undone_by) == (State.UNDONE, "tester")
    assert (
        (run.restored_count, run.restored_bytes)
        == (run.removed_count, run.removed_bytes)
        == (
            3,
            sum(row["size_bytes"] for row in before),
        )
    )


def test_a_second_undo_changes_nothing() -> None:
    make_session("old", **OLD)
    run = undo_cleanup(swept())
    assert undo_cleanup(run).restored_count == 1
    assert live() == ["old"]


def test_sweep_undo_and_sweep_again_works() -> None:
    make_sessions(3, **OLD)
    for _ in range(3):
        run = swept()
        assert run.removed_count == 3
        undo_cleanup(run)
        assert (len(live()), archived()) == (3, [])


def test_a_session_keeps_the_runs_it_was_restored_from_and_the_last_time() -> None:
    session = make_session("old", **OLD)
    assert session.restored_from is None
    came_back_from: list[int] = []
    for undo in (undo_cleanup, lambda run: restore_sessions([session.pk])):
        before = database_now()
        run = swept()
        removed_at = ArchivedSession.objects.get().removed_at
        # The archive keeps the history, and a run adds nothing to it.
        assert restored_from() == came_back_from
        undo(run)
        came_back_from.append(run.pk)
        assert BrowserSession.objects.get().restored_from == run.pk
        assert restored_from() == came_back_from
        event = SessionEvent.objects.filter(session_key=session.pk)[0]
        assert before <= event.at <= database_now()
        assert (event.code, event.removed_at, event.run_key) == ("restored", removed_at, run.pk)
    run = swept()
    assert restored_from() == came_back_from
    assert ArchivedSession.objects.get().run_id == run.pk


def restored_from() -> list[int | None]:
    events = SessionEvent.objects.filter(code="restored").order_by("pk")
    return list(events.values_list("run_key", flat=True))


def test_a_session_whose_name_is_in_use_stays_in_the_archive() -> None:
    make_session("old", **OLD)
    make_session("taken", **OLD)
    run = swept()
    newer = make_session("taken")
    undo_cleanup(run)
    assert live() == ["old", "taken"]
    assert archived() == ["taken"]
    assert BrowserSession.objects.get(name="taken") == newer
    assert run.restored_count == 1


def test_a_plan_made_while_a_session_was_archived_does_not_remove_it() -> None:
    make_session("old", **OLD)
    first = swept()
    second = plan(all=True)
    undo_cleanup(first)
    assert run_cleanup(second).removed_count == 0
    assert live() == ["old"]


def test_an_undo_in_batches_can_be_interrupted_and_resumed() -> None:
    make_sessions(5, **OLD)
    run = swept()
    undo_cleanup(run, deadline=Deadline(0), batch_size=2)
    assert (run.state, run.restored_count, len(archived())) == (State.INTERRUPTED, 2, 3)
    with pytest.raises(CleanupInProgress):
        run_cleanup(run)  # restored sessions are not read again
    assert undo_cleanup(run).state == State.UNDONE
    assert (len(live()), archived()) == (5, [])


def test_a_plan_and_an_emptied_run_have_nothing_to_undo() -> None:
    make_session("old", **OLD)
    run = plan(expired=True)
    with pytest.raises(CannotUndo, match="has removed nothing"):
        undo_cleanup(run)
    run_cleanup(run)
    empty_archive(database_now() + timedelta(days=1))
    run.refresh_from_db()
    assert not run.is_undoable
    with pytest.raises(CannotUndo, match="emptied"):
        undo_cleanup(run)


def test_a_running_run_is_not_undone() -> None:
    make_session("old", **OLD)
    run = swept()
    CleanupRun.objects.update(state=State.RUNNING)
    with pytest.raises(CleanupInProgress):
        undo_cleanup(run)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_fault_at_any_statement_of_an_undo_leaves_each_session_once(
    is_after: bool,
) -> None:
    # Dying after a statement is mostly the same as dying before the next one: every other one is enough.
    fault, has_failed = -1, True
    while has_failed:
        fault += 2
        ArchivedSession.objects.all().delete()
        forget_sessions()
        make_sessions(5, **OLD)
        run = swept()
        with Faulty(fault, is_after=is_after) as faulty, suppress(Died):
            undo_cleanup(run, batch_size=2)
        has_failed = faulty.has_failed
        assert sorted(live() + archived()) == [f"session-{number:03}" for number in range(5)]
        run.refresh_from_db()
        assert run.restored_count == len(live())
        mark_stalled_runs(as_of=database_now() + timedelta(hours=1))
        run.refresh_from_db()
        undo_cleanup(run, batch_size=2)
        assert (len(live()), archived(), run.state) == (5, [], State.UNDONE)
        assert run.restored_count == 5
    assert fault > 15


def test_single_sessions_are_restored_from_the_archive() -> None:
    make_sessions(3, **OLD)
    run = swept()
    first, *_ = ArchivedSession.objects.order_by("pk")
    assert restore_sessions([first.pk, 999_999]) == 1
    assert restore_sessions([first.pk]) == 0
    assert live() == [first.name]
    run.refresh_from_db()
    assert (run.state, run.restored_count, run.is_undoable) == (State.SUCCEEDED, 1, True)
    undo_cleanup(run)
    assert (run.restored_count, len(live())) == (3, 3)


def test_old_sessions_without_protection_are_deleted_from_the_archive() -> None:
    make_sessions(3, **OLD)
    old = swept()
    make_session("protected", **OLD)
    protected = swept()
    CleanupRun.objects.filter(pk=protected.pk).update(is_protected=True)
    ArchivedSession.objects.update(removed_at=database_now() - timedelta(days=20))
    make_session("recent", **OLD)
    swept()
    size = sum(ArchivedSession.objects.filter(run=old).values_list("size_bytes", flat=True))
    assert empty_archive(database_now() - timedelta(days=14), batch_size=2) == (3, size)
    assert archived() == ["protected", "recent"]
    old.refresh_from_db()
    assert (old.emptied_count, old.is_undoable) == (3, False)


def test_a_session_restored_manually_during_an_undo_is_counted() -> None:
    make_sessions(4, **OLD)
    run = swept()
    last = ArchivedSession.objects.latest("pk").pk
    is_done = False

    def restore_manually(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal is_done
        # The first batch is chosen; its transaction has not started.
        if run.state == State.UNDOING and "run_id" in sql and not is_done:
            is_done = True
            restore_sessions([last])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(restore_manually):
        undo_cleanup(run, batch_size=2)
    assert BrowserSession.objects.count() == 4
    assert run.restored_count == 4
