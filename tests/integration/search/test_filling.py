"""The texts of sessions are those of their current documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions_app import tasks
from sessions_app.cleanup import CleanupInProgress, empty_archive, plan_cleanup
from sessions_app.deadline import Deadline
from sessions_app.mirror.registry import register_directory, sync_directory
from sessions_app.models import BrowserSession, QueuedTask, SessionSearch
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.search import filling, index_sessions, is_missing_any, labels_by_session
from sessions_app.session.criteria import Criteria
from sessions_app.session.keeping import Protection
from sessions_app.session.selection import Selection
from tests.factories import OLD, build_session, make_session, put, swept

pytestmark = pytest.mark.django_db


def texts() -> dict[str, str]:
    names = dict(BrowserSession.objects.values_list("pk", "name"))
    return {names[pk]: text for pk, text in SessionSearch.objects.values_list("pk", "text") if pk in names}


def test_an_import_leaves_the_texts_to_the_worker(tmp_path: Path) -> None:
    put(tmp_path, "a", metadata={"user": "u42"})
    directory = register_directory(tmp_path)
    sync_directory(directory, trigger="command")
    assert texts() == {}
    assert is_missing_any()
    tasks.tick()
    assert QueuedTask.objects.filter(task=Task.INDEX_SESSIONS.value).count() == 1
    assert tasks.index_sessions() == "1 session indexed."
    assert not is_missing_any()
    assert "u42" in texts()["a"]
    put(tmp_path, "a", metadata={"user": "u43"})
    sync_directory(directory, trigger="command")
    assert "u43" in texts()["a"]
    assert "u42" not in texts()["a"]


def test_documents_of_any_size_are_indexed_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "BATCH_ROWS", 4)
    monkeypatch.setattr(filling, "BATCH_BYTES", 1_000)
    sizes: list[int] = []
    BrowserSession.objects.bulk_create(
        build_session(f"s{number}", metadata={"x": "y" * 300 * number}) for number in range(9)
    )
    assert index_sessions(progress=sizes.append) == sum(sizes) == 9
    assert max(sizes) < 4
    assert index_sessions() == 0


def test_a_deadline_ends_the_indexing_and_the_next_call_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "BATCH_ROWS", 2)
    BrowserSession.objects.bulk_create(build_session(f"s{number}") for number in range(5))
    assert index_sessions(deadline=Deadline.after(0)) == 0
    assert index_sessions() == 5


def test_an_interrupted_indexing_continues_with_removed_sessions_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filling, "BATCH_ROWS", 2)
    monkeypatch.setattr(filling, "LOOK_BACK", 0)
    BrowserSession.objects.bulk_create(
        build_session(f"s{number}", **(OLD if number % 2 else {})) for number in range(8)
    )
    swept()

    class OnePass(Deadline):
        passes = 0

        @property
        def has_passed(self) -> bool:
            self.passes += 1
            return self.passes > 1

    counts = [index_sessions(deadline=OnePass()) for _ in range(4)]
    assert counts == [2, 2, 2, 2]
    assert not is_missing_any()


def test_a_text_of_a_newer_document_is_not_replaced() -> None:
    session = make_session("a", metadata={"user": "old"})
    (batch,) = filling._batches([session.pk])
    SessionSearch.objects.filter(pk=session.pk).update(text="new")
    filling._store(batch)
    assert texts() == {"a": "new"}


def test_archived_sessions_keep_their_texts_until_the_archive_is_emptied() -> None:
    make_session("a", **OLD)
    swept()
    assert SessionSearch.objects.count() == 1
    SessionSearch.objects.all().delete()
    assert index_sessions() == 1
    empty_archive(database_now())
    assert SessionSearch.objects.count() == 0


def test_a_session_that_is_not_indexed_counts_as_protected_by_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_session("unprotected", **OLD)
    BrowserSession.objects.bulk_create([build_session("unknown", **OLD)])
    rules = (Protection(per="metadata:user", pattern="u42"),)
    monkeypatch.setattr("sessions_app.cleanup.plans.complete_index", lambda: None)
    run = plan_cleanup(Criteria(expired=True, protected=rules), trigger="command")
    assert (run.matched_count, run.skipped_reasons) == (1, {"protected": 1})
    monkeypatch.undo()
    run = plan_cleanup(Criteria(expired=True, protected=rules), trigger="command")
    assert (run.matched_count, run.skipped_reasons) == (2, {"protected": 0})


def test_a_plan_is_refused_if_the_texts_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "COMPLETE_SECONDS", 0)
    make_session("a", metadata={"user": "u42"})
    BrowserSession.objects.bulk_create([build_session("b"), build_session("c")])
    criteria = Criteria.from_selection(Selection.from_address({"q": "u42"}), max_age_days=7)
    with pytest.raises(CleanupInProgress, match="2 sessions are missing"):
        plan_cleanup(criteria, trigger="admin")


def test_the_columns_of_a_page_show_the_labels_of_sessions_that_are_not_indexed() -> None:
    indexed = make_session("a", metadata={"user": "u42"})
    (added,) = BrowserSession.objects.bulk_create([build_session("b", metadata={"user": "u43"})])
    assert labels_by_session([indexed.pk, added.pk]) == {
        indexed.pk: {"user": "u42"},
        added.pk: {"user": "u43"},
    }
