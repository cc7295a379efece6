"""Messages are delivered once, in order, and retried at growing intervals."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection

from sessions_app import tasks
from sessions_app.alerts import delivery
from sessions_app.alerts.delivery import deliver, deliver_due, due_deliveries
from sessions_app.alerts.rules import evaluate
from sessions_app.alerts.watch import watch
from sessions_app.models import AlertDelivery, AlertEvaluation, AlertRule, AlertTarget, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue import outbox
from sessions_app.queue.enqueue import QueueUnreachable, Task
from sessions_app.queue.start import WEB_STARTED_AT
from tests.alerting import Receiver, add_target, fire, receiving, start_worker, stop_worker

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("healthy")]

Kind = AlertTarget.Kind
TEN_MINUTES = timedelta(minutes=10)


class TestRepeats:
    def test_a_target_that_fails_for_ten_minutes_gets_the_message_afterwards(
        self, rule: AlertRule, receiver: Receiver
    ) -> None:
        now = fire()
        receiver.status = 500
        attempts = []
        with time_machine.travel(now, tick=False) as clock:
            # Advance the clock; the task runs with each tick.
            for minute in range(16):
                instant = now + timedelta(minutes=minute)
                clock.move_to(instant)
                if minute == 10:
                    receiver.status = 200
                if deliver_due(instant) != (0, 0):
                    attempts.append(minute)
        assert receiver.events == ["alert.fired"]
        assert len(set(receiver.ids)) == 1
        assert len(set(receiver.bodies)) == 1
        # The intervals grow to five minutes, so the message arrives within five minutes of the recovery.
        assert 10 <= attempts[-1] <= 15
        assert 4 <= len(attempts) <= 8
        message = AlertDelivery.objects.get()
        assert message.delivered_at is not None
        assert (message.error, message.next_attempt_at) == ("", None)

    def test_a_message_fails_after_a_day_of_attempts(self, rule: AlertRule, receiver: Receiver) -> None:
        now = fire()
        receiver.status = 503
        deliver_due(now)
        deliver_due(now + timedelta(days=1, minutes=1))
        message = AlertDelivery.objects.get()
        assert message.next_attempt_at is None
        assert message.delivered_at is None
        assert "answered 503 Service Unavailable" in message.error

    def test_the_resolving_message_waits_for_the_first_message(
        self, rule: AlertRule, receiver: Receiver
    ) -> None:
        now = fire()
        receiver.status = 500
        deliver_due(now)
        start_worker()
        assert len(evaluate(database_now()).resolved) == 1
        receiver.status = 200
        # The first message waits for its next attempt.
        assert not due_deliveries(now + timedelta(seconds=2)).exists()
        deliver_due(now + timedelta(minutes=1))
        assert receiver.events == ["alert.fired", "alert.resolved"]

    def test_a_failing_target_does_not_delay_the_others(self, rule: AlertRule, receiver: Receiver) -> None:
        with receiving() as other:
            other.status = 500
            rule.targets.add(add_target(other, "away"))
            assert deliver_due(fire()) == (1, 1)
        assert receiver.events == ["alert.fired"]

    def test_a_disabled_target_gets_nothing(
        self, rule: AlertRule, target: AlertTarget, receiver: Receiver
    ) -> None:
        now = fire()
        AlertTarget.objects.update(is_enabled=False)
        assert deliver_due(now) == (0, 0)
        AlertTarget.objects.update(is_enabled=True)
        assert deliver_due(now) == (1, 0)


class TestOnce:
    def test_two_senders_do_not_send_the_same_message(self, rule: AlertRule, receiver: Receiver) -> None:
        now = fire()
        first, second = AlertDelivery.objects.get(), AlertDelivery.objects.get()
        assert deliver(first, now) is True
        assert deliver(second, now) is None
        assert receiver.events == ["alert.fired"]

    def test_the_message_of_a_killed_sender_is_sent_again_with_the_same_id(
        self, rule: AlertRule, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = fire()

        def die(*arguments: Any) -> None:
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(delivery, "_send", die)
            with pytest.raises(SystemExit):
                deliver_due(now)
        assert deliver_due(now + timedelta(minutes=1)) == (0, 0)
        assert deliver_due(now + timedelta(minutes=3)) == (1, 0)
        assert receiver.ids == [AlertDelivery.objects.get().message_id]

    @pytest.mark.django_db(transaction=True)
    def test_a_worker_that_is_killed_between_firing_and_delivery_delivers_once_afterwards(
        self, rule: AlertRule, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*arguments: Any, **options: Any) -> None:
            raise QueueUnreachable("The worker ended before it could send the task.")

        with monkeypatch.context() as patch:
            patch.setattr(outbox, "send", die)
            fire()
        assert receiver.messages == []
        task = QueuedTask.objects.get(task=Task.DELIVER_ALERTS.value)
        assert (task.sent_at, task.started_at) == (None, None)
        sent: list[tuple[Any, ...]] = []
        monkeypatch.setattr(outbox, "send", lambda *task, **options: sent.append((*task, options)))
        outbox.send_lost(database_now())
        (delivery_task,) = [task for task in sent if task[0] == Task.DELIVER_ALERTS]
        # The queue delivers its messages at least once.
        for _ in range(2):
            tasks.deliver_alerts(queued_task=delivery_task[-1]["queued_task"])
        assert receiver.events == ["alert.fired"]

    def test_an_alert_and_its_messages_are_stored_together_or_not_at_all(
        self, rule: AlertRule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: Any) -> None:
            raise RuntimeError

        stop_worker()
        monkeypatch.setattr("sessions_app.alerts.rules._store", fail)
        with pytest.raises(RuntimeError):
            evaluate(database_now())
        assert not rule.alerts.exists()
        assert not AlertEvaluation.objects.filter(
            evaluated_at__gt=database_now() - timedelta(hours=1)
        ).exists()


class TestTasks:
    def test_the_tick_evaluates_and_queues_the_delivery(self, rule: AlertRule, receiver: Receiver) -> None:
        stop_worker()
        assert "1 alert" in tasks.tick()
        # The alert queues one task; the tick queues another one in case the first is lost.
        assert QueuedTask.objects.filter(task=Task.DELIVER_ALERTS.value).count() == 2
        assert tasks.deliver_alerts() == "1 message delivered."
        assert receiver.events == ["alert.fired"]

    def test_no_task_is_queued_without_due_messages(self, rule: AlertRule) -> None:
        tasks.tick()
        assert not QueuedTask.objects.filter(task=Task.DELIVER_ALERTS.value).exists()

    def test_a_message_that_failed_is_queued_again_by_a_later_tick(
        self, rule: AlertRule, receiver: Receiver
    ) -> None:
        receiver.status = 500
        deliver_due(fire())
        AlertDelivery.objects.update(next_attempt_at=database_now())
        QueuedTask.objects.all().delete()
        tasks.tick()
        assert QueuedTask.objects.filter(task=Task.DELIVER_ALERTS.value).exists()


class TestWithoutAWorker:
    """The web server reports a silent worker, and delivers messages while no worker does."""

    def test_it_evaluates_and_delivers(self, rule: AlertRule, receiver: Receiver) -> None:
        stop_worker()
        now = database_now()
        watch(now)
        assert receiver.messages == []
        watch(now + timedelta(seconds=20))
        assert receiver.events == ["alert.fired"]

    def test_it_leaves_evaluations_to_a_worker_that_makes_them(
        self, rule: AlertRule, django_assert_max_num_queries: Any
    ) -> None:
        now = database_now()
        evaluate(now)
        with django_assert_max_num_queries(2):
            watch(now + timedelta(seconds=10))

    def test_a_restart_of_the_web_server_resolves_no_alert_about_the_worker(
        self, rule: AlertRule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = fire()
        monkeypatch.setenv(WEB_STARTED_AT, str(time.time()))
        watch(now + timedelta(minutes=1))
        assert rule.alerts.get().resolved_at is None

    def test_it_sends_no_pings(self, receiver: Receiver) -> None:
        AlertTarget.objects.create(name="ping", kind=Kind.PING, address=f"{receiver.url}/ping")
        watch(database_now() + timedelta(minutes=5))
        assert receiver.requests == []


def test_the_due_messages_are_found_through_their_index(rule: AlertRule, receiver: Receiver) -> None:
    if connection.vendor == "sqlite":
        plan = due_deliveries(database_now()).explain()
        assert "alert_delivery_due" in plan
