"""The log of SQLite during a run."""

from __future__ import annotations

import pytest
from django.db import connection

from sessions_app.cleanup import batches, run_cleanup
from sessions_app.cleanup.batches import key_ranges
from sessions_app.models import ArchivedSession
from tests.factories import OLD, archived, make_session, plan

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL checkpoints by itself"),
]

PRAGMAS = ("wal_autocheckpoint", "journal_size_limit", "temp_store")


def settings_of_log() -> list[int]:
    with connection.cursor() as cursor:
        return [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS]


def test_a_run_changes_the_settings_of_the_log_only_while_it_is_at_work() -> None:
    for name in "abc":
        make_session(name, **OLD)
    before = settings_of_log()
    during: list[list[int]] = []
    run_cleanup(plan(expired=True), batch_size=1, progress=lambda count: during.append(settings_of_log()))
    assert during == [[0, -1, 2]] * 3
    assert settings_of_log() == before


def test_the_settings_return_after_an_error() -> None:
    make_session("old", **OLD)
    before = settings_of_log()

    def fail(count: int) -> None:
        raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="terminal"):
        run_cleanup(plan(expired=True), progress=fail)
    assert settings_of_log() == before


def test_a_long_run_pauses_and_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(batches, "PAUSE_EVERY", 2)
    monkeypatch.setattr(batches, "CHECKPOINT_EVERY", 4)
    monkeypatch.setattr("time.sleep", pauses.append)
    for number in range(9):
        make_session(str(number), **OLD)
    run_cleanup(plan(expired=True), batch_size=1)
    assert len(archived()) == 9
    assert len(pauses) == 4
    assert all(0 <= pause <= batches.PAUSE_SECONDS for pause in pauses)


def test_a_batch_is_marked_in_statements_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "STATEMENT_ROWS", 2)
    assert list(key_ranges(10, 20, 5)) == [(10, 14), (14, 18), (18, 20)]
    assert list(key_ranges(10, 11, 5)) == [(10, 11)]
    for number in range(7):
        make_session(str(number), **OLD)
    run = run_cleanup(plan(expired=True))
    assert (run.removed_count, ArchivedSession.objects.count()) == (7, 7)
