"""Evaluates the rules: fires an alert for each new finding, and resolves it when the finding disappears.

The messages for the targets are stored in the same transaction, so that a crash cannot lose them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Prefetch, QuerySet

from sessions_app.alerts.findings import Code, Finding
from sessions_app.alerts.links import absolute, page_of
from sessions_app.alerts.sources import find
from sessions_app.models import (
    Alert,
    AlertDelivery,
    AlertEvaluation,
    AlertRule,
    AlertTarget,
    LimitedNamespace,
)
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.transactions import retry_when_busy

Kind = AlertRule.Kind
Event = AlertDelivery.Event
_WORKER_CODES = (
    Code.QUEUE_UNREACHABLE,
    Code.WORKER_MISSING,
    Code.WORKER_STOPPED,
    Code.WORKER_BEHIND,
    Code.MACHINE_SILENT,
    Code.SCHEDULE_OVERDUE,
)
CODES: dict[str, frozenset[Code]] = {
    Kind.RUN_FAILED: frozenset((Code.RUN_FAILED,)),
    Kind.RUN_NEEDS_APPROVAL: frozenset((Code.RUN_NEEDS_APPROVAL,)),
    Kind.RUN_REMOVED_MANY: frozenset((Code.RUN_REMOVED_MANY,)),
    Kind.UNREACHABLE: frozenset((Code.DIRECTORY_UNREACHABLE, Code.MACHINE_SILENT)),
    Kind.WORKER_SILENT: frozenset(_WORKER_CODES),
    Kind.STORAGE: frozenset((Code.STORAGE_OVER_LIMIT, Code.DISK_FULL)),
    Kind.LOGIN_LOCKED: frozenset((Code.LOGIN_LOCKED,)),
}
"""The codes of the findings that each kind of rule reports."""

KEPT = timedelta(days=90)
"""Time after which resolved alerts and their messages are deleted."""
DROPPED_AT_ONCE = 500


class Evaluation(NamedTuple):
    """The alerts that an evaluation fired and resolved."""

    fired: list[Alert]
    resolved: list[Alert]

    def __len__(self) -> int:
        return len(self.fired) + len(self.resolved)


def evaluate(now: datetime) -> Evaluation:
    """Fire and resolve alerts according to the findings at an instant of the database's clock.

    An evaluation changes nothing if another one with a later instant has finished already.
    """
    if not AlertRule.objects.filter(is_enabled=True).exists() and not _open_alerts().exists():
        return Evaluation([], [])
    findings = find(now)
    return retry_when_busy(partial(_apply, findings, now))


def evaluated_at() -> datetime | None:
    """Return the instant of the last evaluation."""
    return AlertEvaluation.objects.values_list("evaluated_at", flat=True).first()


def _open_alerts() -> QuerySet[Alert]:
    return Alert.objects.filter(resolved_at=None)


def _apply(findings: list[Finding], now: datetime) -> Evaluation:
    AlertEvaluation.objects.get_or_create(pk=1, defaults={"evaluated_at": now - timedelta(days=1)})
    with transaction.atomic():
        # The lock on the row serializes evaluations.
        if not AlertEvaluation.objects.filter(pk=1, evaluated_at__lt=now).update(evaluated_at=now):
            return Evaluation([], [])
        wanted = {
            (rule.pk, *finding.key): (rule, finding)
            for rule in AlertRule.objects.filter(is_enabled=True)
            for finding in _of(rule, findings)
        }
        opened = {tuple(key): pk for pk, *key in _open_alerts().values_list("pk", "rule", "code", "subject")}
        limited = frozenset(LimitedNamespace.objects.values_list("namespace", flat=True))
        new = [found for key, found in wanted.items() if key not in opened]
        fired = _fire([(rule, _concealed(finding, limited)) for rule, finding in new], now)
        resolved = _resolve([pk for key, pk in opened.items() if key not in wanted], now)
        if fired or resolved:
            enqueue(Task.DELIVER_ALERTS)
    return Evaluation(fired, resolved)


def _of(rule: AlertRule, findings: Iterable[Finding]) -> Iterable[Finding]:
    """Return the findings that a rule reports."""
    codes = CODES.get(rule.kind, frozenset())
    for finding in findings:
        if finding.code in codes and _is_past_limit(rule, finding):
            yield finding


def _is_past_limit(rule: AlertRule, finding: Finding) -> bool:
    if finding.amount is None:
        return True
    return rule.threshold is not None and finding.amount > rule.threshold


def _concealed(finding: Finding, limited: frozenset[str]) -> Finding:
    """Conceal findings that name a limited namespace, because anyone may read a target's messages."""
    is_limited = bool(limited) and (not finding.namespace or finding.namespace in limited)
    return finding.conceal() if is_limited else finding


def _fire(found: Iterable[tuple[AlertRule, Finding]], now: datetime) -> list[Alert]:
    Alert.objects.bulk_create(
        Alert(
            rule=rule,
            code=finding.code.value,
            subject=finding.subject,
            severity=finding.severity,
            namespace=finding.namespace,
            text=finding.text,
            link=absolute(page_of(finding)),
            fired_at=now,
        )
        for rule, finding in found
    )
    # Query them, because bulk_create() on SQLite before 3.35 does not return primary keys.
    alerts = list(_open_alerts().filter(fired_at=now).order_by("pk").prefetch_related("rule__targets"))
    targets = ((alert, target) for alert in alerts for target in alert.rule.targets.all())
    _store(Event.FIRED, ((alert, target) for alert, target in targets if target.is_enabled), now)
    return alerts


def _resolve(keys: list[int], now: datetime) -> list[Alert]:
    resolved = Alert.objects.filter(pk__in=keys)
    resolved.update(resolved_at=now)
    # Only targets that received the first message receive the second one.
    first = AlertDelivery.objects.filter(event=Event.FIRED).select_related("target").order_by("pk")
    alerts = list(
        resolved.order_by("pk").select_related("rule").prefetch_related(Prefetch("deliveries", first))
    )
    _store(Event.RESOLVED, ((alert, sent.target) for alert in alerts for sent in alert.deliveries.all()), now)
    return alerts


def _store(event: str, recipients: Iterable[tuple[Alert, AlertTarget]], now: datetime) -> None:
    AlertDelivery.objects.bulk_create(
        AlertDelivery(
            alert=alert,
            target=target,
            event=event,
            message_id=new_message_id(),
            body=message_body(alert, event, now),
            created_at=now,
            next_attempt_at=now,
        )
        for alert, target in recipients
        if target.kind != AlertTarget.Kind.PING
    )


def new_message_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


def message_body(alert: Alert, event: str, now: datetime) -> dict[str, Any]:
    """Return the body of a webhook. It contains no endpoint, because the texts of findings are masked."""
    return {
        "type": f"alert.{event}",
        "timestamp": now.isoformat(),
        "data": {
            "alert": alert.pk,
            "rule": alert.rule.name,
            "code": alert.code,
            "subject": alert.subject,
            "severity": alert.severity,
            "text": alert.text,
            "link": alert.link,
            "fired_at": alert.fired_at.isoformat(),
            "resolved_at": alert.resolved_at and alert.resolved_at.isoformat(),
        },
    }


def drop_old_alerts(now: datetime) -> None:
    """Delete alerts that were resolved long ago, with their messages, and old test messages."""
    old = (
        Alert.objects.filter(resolved_at__lt=now - KEPT).order_by("resolved_at").values_list("pk", flat=True)
    )
    keys = list(old[:DROPPED_AT_ONCE])
    tests = AlertDelivery.objects.filter(alert=None, created_at__lt=now - KEPT)
    test_keys = list(tests.order_by("pk").values_list("pk", flat=True)[:DROPPED_AT_ONCE])
    if keys:
        retry_when_busy(Alert.objects.filter(pk__in=keys).delete)
    if test_keys:
        retry_when_busy(AlertDelivery.objects.filter(pk__in=test_keys).delete)
