"""Tasks that the queue or a worker loses, that are requested twice, or that fail."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django_q.models import OrmQ

from sessions_app import tasks
from sessions_app.models import CleanupRun, Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue import outbox
from sessions_app.queue.enqueue import QueueUnreachable, Task
from sessions_app.queue.outbox import enqueue, perform, send_lost
from tests.factories import Queued

pytestmark = pytest.mark.django_db(transaction=True)


def later(**span: float) -> Any:
    return database_now() + timedelta(**span)


def messages() -> list[Any]:
    """Return the keywords of the messages in the queue."""
    return [row.task["kwargs"] for row in OrmQ.objects.order_by("pk")]


@pytest.fixture
def row() -> QueuedTask:
    found = enqueue(Task.CONTINUE_CLEANUP, 7)
    assert found is not None
    return found


@pytest.fixture
def is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise QueueUnreachable("Connection refused.")

    monkeypatch.setattr(outbox, "send", refuse)


class TestEnqueue:
    def test_the_message_follows_the_commit(self) -> None:
        with transaction.atomic():
            found = enqueue(Task.CONTINUE_CLEANUP, 7)
            assert found is not None
            assert not OrmQ.objects.exists()
        assert messages() == [{"queued_task": found.pk}]
        assert found.sent_at is not None

    def test_a_transaction_that_fails_leaves_nothing(self) -> None:
        with transaction.atomic():
            enqueue(Task.CONTINUE_CLEANUP, 7)
            transaction.set_rollback(True)
        assert not QueuedTask.objects.exists()
        assert not OrmQ.objects.exists()

    def test_a_second_request_joins_the_first(self, row: QueuedTask, queued: Queued) -> None:
        assert enqueue(Task.CONTINUE_CLEANUP, 7) is None
        assert enqueue(Task.CONTINUE_CLEANUP, 8) is not None
        assert enqueue(Task.CONTINUE_UNDO, 7) is not None
        assert enqueue(Task.CONTINUE_CLEANUP, 7, machine="other") is not None
        assert len(queued) == 4
        assert OrmQ.objects.count() == 4

    def test_the_database_refuses_a_second_open_row(self, row: QueuedTask) -> None:
        with pytest.raises(IntegrityError):
            QueuedTask.objects.create(task=row.task, arguments=row.arguments)

    def test_a_request_while_the_task_runs_is_served_afterwards(self, row: QueuedTask) -> None:
        def work() -> str:
            assert enqueue(Task.CONTINUE_CLEANUP, 7) is None
            assert enqueue(Task.CONTINUE_CLEANUP, 7) is None
            return "Interrupted."

        assert perform(row.pk, work) == "Interrupted."
        first, second = QueuedTask.objects.order_by("pk")
        assert (first.message, second.started_at) == ("Interrupted.", None)
        assert second.arguments == [7]
        assert {"queued_task": second.pk} in messages()

    @pytest.mark.usefixtures("is_away")
    def test_a_queue_that_cannot_be_reached_loses_no_task(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = enqueue(Task.CONTINUE_CLEANUP, 7)
        assert found is not None
        assert found.sent_at is None
        assert send_lost(later(seconds=1)) == []
        assert "once it can be reached" in caplog.text
        monkeypatch.undo()
        assert len(send_lost(later(seconds=1))) == 1
        assert messages() == [{"queued_task": found.pk}]


class TestLost:
    def test_a_message_that_disappeared_is_sent_again(self, row: QueuedTask) -> None:
        OrmQ.objects.all().delete()
        assert send_lost(later(seconds=50)) == []
        assert len(send_lost(later(seconds=70))) == 1
        assert send_lost(later(seconds=50)) == []
        assert messages() == [{"queued_task": row.pk}]

    def test_messages_behind_others_do_not_pile_up(self, row: QueuedTask) -> None:
        start, sent = database_now(), 0
        for minute in range(1, 120):
            now = start + timedelta(minutes=minute, seconds=1)
            for found in send_lost(now):
                QueuedTask.objects.filter(pk=found.pk).update(sent_at=now)
                sent += 1
        assert 5 <= sent <= 8

    def test_tasks_of_a_machine_without_a_worker_wait(self) -> None:
        enqueue(Task.CONTINUE_CLEANUP, 7, machine="gone")
        OrmQ.objects.all().delete()
        assert send_lost(later(seconds=70)) == []
        Machine.objects.create(name="gone", heartbeat_at=later(seconds=60))
        assert len(send_lost(later(seconds=70))) == 1

    def test_tasks_of_a_machine_that_is_silent_for_ten_minutes_fail(self) -> None:
        for machine in ("gone", "silent", "starting", ""):
            enqueue(Task.CONTINUE_CLEANUP, 7, machine=machine)
        Machine.objects.create(name="gone", heartbeat_at=database_now())
        Machine.objects.create(name="silent", heartbeat_at=later(minutes=2))
        QueuedTask.objects.filter(machine="starting").update(queued_at=later(minutes=9))
        send_lost(later(minutes=11))
        (failed,) = QueuedTask.objects.exclude(finished_at=None)
        assert (failed.machine, failed.has_failed) == ("gone", True)
        assert failed.message.startswith("Its machine has had no worker for 10 minutes.")

    def test_a_task_of_another_version_fails_and_does_not_stop_others(self, row: QueuedTask) -> None:
        QueuedTask.objects.create(task="sessions_app.tasks.of_a_newer_version")
        OrmQ.objects.all().delete()
        assert [found.pk for found in send_lost(later(seconds=70))] == [row.pk]
        assert QueuedTask.objects.filter(has_failed=True, message__contains="does not know").count() == 1

    def test_a_task_whose_worker_died_is_sent_again(self, row: QueuedTask) -> None:
        assert outbox._start(row.pk)
        OrmQ.objects.all().delete()
        assert send_lost(later(seconds=40)) == []
        assert len(send_lost(later(seconds=50))) == 1
        assert perform(row.pk, lambda: "Done.") == "Done."
        assert QueuedTask.objects.get().attempt == 2

    def test_a_task_that_ends_its_worker_repeatedly_fails(self, row: QueuedTask) -> None:
        for _ in range(outbox.MAX_ATTEMPTS):
            assert outbox._start(row.pk)
            send_lost(later(minutes=1))
        found = QueuedTask.objects.get()
        assert found.has_failed
        assert "5 times" in found.message
        assert send_lost(later(days=1)) == []

    def test_a_second_delivery_does_nothing(self, row: QueuedTask) -> None:
        def work() -> str:
            assert perform(row.pk, lambda: "Twice.") == "It was started already."
            return "Once."

        assert perform(row.pk, work) == "Once."
        assert perform(row.pk, lambda: "Again.") == "It was started already."
        assert QueuedTask.objects.get().message == "Once."

    def test_a_long_task_keeps_its_heartbeat(self, row: QueuedTask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outbox, "HEARTBEAT_SECONDS", 0.01)
        beats: set[Any] = set()

        def work() -> str:
            until = time.monotonic() + 10
            while len(beats) < 3 and time.monotonic() < until:
                beats.add(QueuedTask.objects.get().heartbeat_at)
            return "Done."

        perform(row.pk, work)
        assert len(beats) >= 3
        assert not [thread for thread in threading.enumerate() if "_beat" in thread.name]


class TestResults:
    def test_a_failure_is_stored_without_endpoints(
        self, row: QueuedTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise ValueError("not at ws://127.0.0.1:9222/devtools/browser/secret-part")

        monkeypatch.setattr(CleanupRun.objects, "get", fail)
        tasks.continue_cleanup(7, queued_task=row.pk)
        found = QueuedTask.objects.get()
        assert found.has_failed
        assert found.message.startswith("ValueError: not at")
        assert "secret-part" not in found.message

    def test_text_that_no_database_stores_is_escaped(self, row: QueuedTask) -> None:
        perform(row.pk, lambda: "half a pair \ud800, NUL \0, " + "long " * 10_000)
        found = QueuedTask.objects.get()
        assert found.message.startswith(r"half a pair \ud800, NUL , long")
        assert len(found.message) == outbox.MESSAGE_LENGTH

    def test_a_timeout_of_django_q_is_stored(self, row: QueuedTask) -> None:
        def work() -> str:
            raise SystemExit("Task exceeded maximum timeout value (300 seconds)")

        with pytest.raises(SystemExit):
            perform(row.pk, work)
        found = QueuedTask.objects.get()
        assert (found.has_failed, found.message) == (True, "It took too long and was stopped.")

    def test_old_results_are_dropped_and_open_tasks_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outbox, "KEPT_RESULTS", 2)
        now = database_now()
        for number in range(4):
            for has_failed in (False, True):
                QueuedTask.objects.create(
                    task=Task.SWEEP.value, arguments=[number], finished_at=now, has_failed=has_failed
                )
        first = QueuedTask.objects.order_by("pk").first()
        assert first is not None
        QueuedTask.objects.filter(pk=first.pk).update(finished_at=None)
        outbox.drop_old_results()
        kept = QueuedTask.objects.order_by("pk").values_list("arguments", "has_failed")
        assert list(kept) == [([0], False), ([2], False), ([2], True), ([3], False), ([3], True)]
