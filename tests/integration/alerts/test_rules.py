"""Each rule fires and resolves. A real web server receives the messages and checks their signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axes.utils import reset
from django.db import IntegrityError, transaction
from django.test import Client

from sessions_app.alerts import rules
from sessions_app.alerts.delivery import deliver_due
from sessions_app.alerts.findings import Code
from sessions_app.alerts.rules import evaluate
from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import (
    Alert,
    AlertDelivery,
    AlertRule,
    AlertTarget,
    CleanupRun,
    LimitedNamespace,
    SessionDirectory,
)
from sessions_app.models.clock import database_now
from sessions_app.tasks import sync_directories
from sessions_app.transactions.disk_space import DiskSpace
from tests.alerting import (
    SECRET,
    Receiver,
    announce,
    hold_a_run,
    make_healthy,
    move_away,
    receiving,
    start_worker,
    stop_worker,
)
from tests.factories import ENDPOINT, make_session, make_sessions, plan, put
from tests.factories import SECRET as ENDPOINT_SECRET

pytestmark = pytest.mark.django_db

Kind = AlertRule.Kind
Undo = Callable[[], Any]


@pytest.fixture(autouse=True)
def healthy(db: None, settings: Any) -> None:
    make_healthy()
    settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS = ("127.0.0.1",)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def target(receiver: Receiver) -> AlertTarget:
    return AlertTarget.objects.create(
        name="chat", kind="webhook", address=f"{receiver.url}/hook", secret=SECRET
    )


def add_rule(target: AlertTarget, kind: str, threshold: int | None = None) -> AlertRule:
    rule = AlertRule.objects.create(name=f"rule of {kind}", kind=kind, threshold=threshold)
    rule.targets.add(target)
    return rule


def evaluate_and_deliver(now: datetime | None = None) -> None:
    """Evaluate the rules and deliver the messages, as the tick and its task do."""
    now = now or database_now()
    evaluate(now)
    deliver_due(now + timedelta(seconds=1))


class Cause:
    """For each kind of rule a method that causes a finding and returns a function that removes the cause."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client, self.folder = client, folder

    def run_failed(self) -> Undo:
        make_session(session_id="")
        run = plan(as_of=database_now(), invalid=True)
        failed = {"state": CleanupRun.State.FAILED, "finished_at": database_now(), "error": "It failed."}
        CleanupRun.objects.filter(pk=run.pk).update(**failed)
        return lambda: run_cleanup(CleanupRun.objects.get(pk=run.pk))

    def run_needs_approval(self) -> Undo:
        pk = hold_a_run()
        return lambda: CleanupRun.objects.filter(pk=pk).update(state=CleanupRun.State.CLOSED)

    def run_removed_many(self) -> Undo:
        make_sessions(4, session_id="")
        run = run_cleanup(plan(as_of=database_now(), invalid=True))
        return lambda: undo_cleanup(run, actor="tester")

    def unreachable(self) -> Undo:
        put(self.folder, "one")
        register_directory(self.folder)
        sync_directories()
        move_back = move_away(self.folder)
        sync_directories()

        def restore() -> None:
            move_back()
            sync_directories()

        return restore

    def worker_silent(self) -> Undo:
        stop_worker()
        return start_worker

    def login_locked(self) -> Undo:
        for _ in range(5):
            self.client.post("/admin/login/", {"username": "anna", "password": "wrong"})
        return lambda: reset(username="anna")


CODES = {
    Kind.RUN_FAILED: Code.RUN_FAILED,
    Kind.RUN_NEEDS_APPROVAL: Code.RUN_NEEDS_APPROVAL,
    Kind.RUN_REMOVED_MANY: Code.RUN_REMOVED_MANY,
    Kind.UNREACHABLE: Code.DIRECTORY_UNREACHABLE,
    Kind.WORKER_SILENT: Code.WORKER_STOPPED,
    Kind.LOGIN_LOCKED: Code.LOGIN_LOCKED,
}


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.usefixtures("no_settle_time")
def test_each_rule_fires_once_and_resolves_once(
    kind: Kind,
    target: AlertTarget,
    receiver: Receiver,
    client: Client,
    folder: Path,
) -> None:
    add_rule(target, kind, 3 if kind == Kind.RUN_REMOVED_MANY else None)
    evaluate_and_deliver()
    assert receiver.messages == []
    resolve = getattr(Cause(client, folder), kind.value)()
    for _ in range(3):
        evaluate_and_deliver()
    assert receiver.events == ["alert.fired"]
    data = receiver.messages[0]["data"]
    assert (data["code"], data["rule"], data["resolved_at"]) == (CODES[kind], f"rule of {kind}", None)
    resolve()
    for _ in range(3):
        evaluate_and_deliver()
    assert receiver.events == ["alert.fired", "alert.resolved"]
    resolved = receiver.messages[1]["data"]
    assert (resolved["alert"], resolved["text"]) == (data["alert"], data["text"])
    assert resolved["resolved_at"]
    assert len(set(receiver.ids)) == 2


def test_storage_over_the_limit_and_a_full_disk_fire(
    target: AlertTarget, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sessions(2)
    rule = add_rule(target, Kind.STORAGE, 10)
    evaluate_and_deliver()
    monkeypatch.setattr("sessions_app.alerts.sources.disk_space", lambda: DiskSpace(0, is_full=True))
    evaluate_and_deliver()
    assert [message["data"]["code"] for message in receiver.messages] == [
        "storage_over_limit",
        "disk_full",
    ]
    monkeypatch.undo()
    AlertRule.objects.filter(pk=rule.pk).update(threshold=10_000_000)
    evaluate_and_deliver()
    assert receiver.events == ["alert.fired"] * 2 + ["alert.resolved"] * 2


def test_a_silent_machine_among_others_is_reported_with_its_name(
    target: AlertTarget, receiver: Receiver
) -> None:
    add_rule(target, Kind.UNREACHABLE)
    announce("other", at=database_now() - timedelta(seconds=80))
    evaluate_and_deliver()
    assert receiver.messages[0]["data"]["subject"] == "other"
    announce("other")
    evaluate_and_deliver()
    assert receiver.events == ["alert.fired", "alert.resolved"]


def test_a_rule_reports_only_findings_over_its_own_limit(target: AlertTarget, receiver: Receiver) -> None:
    small = add_rule(target, Kind.RUN_REMOVED_MANY, 1)
    AlertRule.objects.create(name="large", kind=Kind.RUN_REMOVED_MANY, threshold=100).targets.add(target)
    make_sessions(2, session_id="")
    run_cleanup(plan(as_of=database_now(), invalid=True))
    evaluate_and_deliver()
    assert [message["data"]["rule"] for message in receiver.messages] == [small.name]


def test_disabling_a_rule_resolves_its_alerts(target: AlertTarget, receiver: Receiver) -> None:
    rule = add_rule(target, Kind.RUN_NEEDS_APPROVAL)
    hold_a_run()
    evaluate_and_deliver()
    AlertRule.objects.filter(pk=rule.pk).update(is_enabled=False)
    evaluate_and_deliver()
    assert receiver.events == ["alert.fired", "alert.resolved"]


def test_a_finding_that_returns_fires_a_new_alert(target: AlertTarget, receiver: Receiver) -> None:
    add_rule(target, Kind.WORKER_SILENT)
    for _ in range(2):
        stop_worker()
        evaluate_and_deliver()
        start_worker()
        evaluate_and_deliver()
    assert receiver.events == ["alert.fired", "alert.resolved"] * 2
    assert len({message["data"]["alert"] for message in receiver.messages}) == 2


def test_a_finding_has_at_most_one_open_alert(target: AlertTarget) -> None:
    rule = add_rule(target, Kind.WORKER_SILENT)
    values = {"rule": rule, "code": "worker_stopped", "text": "x", "fired_at": database_now()}
    Alert.objects.create(**values)
    with pytest.raises(IntegrityError), transaction.atomic():
        Alert.objects.create(**values)


def test_an_evaluation_for_an_earlier_instant_changes_nothing(target: AlertTarget) -> None:
    add_rule(target, Kind.WORKER_SILENT)
    now = database_now()
    stop_worker()
    evaluate(now)
    assert Alert.objects.filter(resolved_at=None).count() == 1
    start_worker()
    assert len(evaluate(now - timedelta(seconds=1))) == 0
    assert Alert.objects.filter(resolved_at=None).count() == 1


def test_without_rules_nothing_is_evaluated(django_assert_max_num_queries: Any) -> None:
    stop_worker()
    now = database_now()
    with django_assert_max_num_queries(2):
        evaluate(now)


def test_messages_contain_neither_endpoints_nor_limited_namespaces(
    target: AlertTarget, receiver: Receiver
) -> None:
    add_rule(target, Kind.UNREACHABLE)
    LimitedNamespace.objects.create(namespace="payments")
    SessionDirectory.objects.create(path="/a", namespace="shop", error=f"No answer from {ENDPOINT}.")
    SessionDirectory.objects.create(path="/secret", namespace="payments", error="/secret is gone.")
    evaluate_and_deliver()
    assert len(receiver.messages) == 2
    assert not any(text in body for body in receiver.bodies for text in (ENDPOINT_SECRET, "/secret"))
    assert "A session directory has an error." in [message["data"]["text"] for message in receiver.messages]


def test_the_link_is_absolute_if_the_public_url_is_set(
    target: AlertTarget, receiver: Receiver, settings: Any
) -> None:
    settings.RAPTOR_PUBLIC_URL = "https://panel.example"
    add_rule(target, Kind.RUN_NEEDS_APPROVAL)
    pk = hold_a_run()
    evaluate_and_deliver()
    link = receiver.messages[0]["data"]["link"]
    assert link == f"https://panel.example/admin/sessions_app/cleanuprun/{pk}/change/"


def test_old_alerts_are_deleted_with_their_messages(target: AlertTarget) -> None:
    add_rule(target, Kind.WORKER_SILENT)
    stop_worker()
    evaluate_and_deliver()
    start_worker()
    evaluate_and_deliver()
    rules.drop_old_alerts(database_now() + timedelta(days=89))
    assert AlertDelivery.objects.count() == 2
    rules.drop_old_alerts(database_now() + timedelta(days=91))
    assert not Alert.objects.exists()
    assert not AlertDelivery.objects.exists()


def test_the_number_of_queries_does_not_depend_on_the_number_of_alerts(
    target: AlertTarget, django_assert_max_num_queries: Any
) -> None:
    rule = add_rule(target, Kind.UNREACHABLE)
    rule.targets.add(AlertTarget.objects.create(name="mail", kind="email", address="anna@example.org"))
    now = database_now()
    evaluate(now)
    for number in range(20):
        SessionDirectory.objects.create(path=f"/gone/{number}", namespace="shop", error="It is gone.")
    with django_assert_max_num_queries(35):
        assert len(evaluate(now + timedelta(seconds=1)).fired) == 20
    assert AlertDelivery.objects.count() == 40
    SessionDirectory.objects.update(error="")
    with django_assert_max_num_queries(35):
        assert len(evaluate(now + timedelta(seconds=2)).resolved) == 20
    assert AlertDelivery.objects.count() == 80
    assert not Alert.objects.filter(resolved_at=None).exists()
