"""Delivers the stored messages of alerts, and retries failed attempts at growing intervals.

Compare-and-set claims a message before it is sent. If its sender is killed, the claim expires and the message
is sent again under the same id, so that the receiver can recognize it.
"""

from __future__ import annotations

import json
import logging
import smtplib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.mail import EmailMessage
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone as django_timezone
from standardwebhooks import Webhook

from sessions_app.alerts.posting import NotSent, send
from sessions_app.alerts.rules import new_message_id
from sessions_app.deadline import Deadline
from sessions_app.models import AlertDelivery, AlertTarget
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.session.masking import safe_message
from sessions_app.text import count_of, printable
from sessions_app.transactions import retry_when_busy

CLAIM = timedelta(minutes=2)
"""Time after which a claim expires. Sending a message takes less."""
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=5)
GIVE_UP_AFTER = timedelta(days=1)
DELIVERY_SECONDS = 60
"""Time limit of a task; the next tick sends the remaining messages and pings."""
MESSAGES_SECONDS = 40
"""Time limit for messages within a task, so that slow targets leave time for the pings, which show that the
worker is alive."""
SENT_AT_ONCE = 200
PING_EVERY = timedelta(seconds=50)
ERROR_LENGTH = 500
_SUBJECT_LENGTH = 120
_SUBJECTS = {"alert.fired": "Alert", "alert.resolved": "Resolved", "alert.test": "Test"}

logger = logging.getLogger(__name__)


def due_deliveries(now: datetime) -> QuerySet[AlertDelivery]:
    """Return the messages that are due. The second of a pair is due only after the first was delivered."""
    earlier = AlertDelivery.objects.filter(
        alert=OuterRef("alert"),
        target=OuterRef("target"),
        pk__lt=OuterRef("pk"),
        next_attempt_at__isnull=False,
    )
    due = AlertDelivery.objects.filter(next_attempt_at__lte=now, target__is_enabled=True)
    return due.filter(~Exists(earlier)).select_related("target").order_by("attempt", "pk")


def deliver_due(now: datetime, *, deadline: Deadline | None = None) -> tuple[int, int]:
    """Send the messages that are due.

    Args:
        now: Instant by the database's clock.
        deadline: Instant after which no further message is sent.
    Returns: The number of delivered messages, and the number of targets that failed.
    """
    began, delivered = time.monotonic(), 0
    deadline = deadline or Deadline()
    failing: set[int] = set()
    while True:
        # One attempt for a failing target in each call, so that it does not delay the others.
        due = due_deliveries(now).exclude(target__in=failing)
        found = list(due[:SENT_AT_ONCE])
        if not found or deadline.has_passed:
            return delivered, len(failing)
        for delivery in found:
            if delivery.target_id in failing or deadline.has_passed:
                continue
            instant = now + timedelta(seconds=time.monotonic() - began)
            is_delivered = deliver(delivery, instant)
            delivered += bool(is_delivered)
            if is_delivered is False:
                failing.add(delivery.target_id)


def deliver(delivery: AlertDelivery, now: datetime) -> bool | None:
    """Claim and send one message.

    Returns: Whether the target accepted the message; None if another process has claimed the message.
    """
    if not _claim(delivery, now):
        return None
    target = delivery.target
    try:
        _send(target, delivery)
    except NotSent as error:
        is_over = delivery.created_at < now - GIVE_UP_AFTER or delivery.event == AlertDelivery.Event.TEST
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(delivery.attempt - 1, 10))
        message = str(error)[:ERROR_LENGTH]
        _store(delivery, error=message, next_attempt_at=None if is_over else now + pause)
        _note(target, now, message)
        logger.warning("Message %s for “%s” was not delivered: %s", delivery.pk, target, message)
        return False
    _store(delivery, error="", next_attempt_at=None, delivered_at=now)
    _note(target, now, "")
    return True


def send_test(target: AlertTarget, now: datetime) -> str:
    """Send a test message to a target at once; return why it failed, or blank."""
    if target.kind == AlertTarget.Kind.PING:
        return _ping(target, now)
    body = {
        "type": "alert.test",
        "timestamp": now.isoformat(),
        "data": {"text": f"This is a test message for the alert target “{target.name}”."},
    }
    delivery = AlertDelivery.objects.create(
        target=target,
        event=AlertDelivery.Event.TEST,
        message_id=new_message_id(),
        body=body,
        created_at=now,
        next_attempt_at=now,
    )
    deliver(delivery, now)
    return delivery.error


def queue_due(now: datetime) -> list[Any]:
    """Queue the delivery task if a message or a ping is due.

    Each request has its own argument, so that the queue does not merge it with a lost task.
    """
    if not due_deliveries(now).exists() and not _due_pings(now).exists():
        return []
    return [enqueue(Task.DELIVER_ALERTS, now.isoformat())]


def deliver_all(now: datetime) -> str:
    """Send the messages and then the pings that are due, and return a summary."""
    deadline = Deadline.after(DELIVERY_SECONDS)
    delivered, failed = deliver_due(now, deadline=Deadline.after(MESSAGES_SECONDS))
    pinged = ping_all(now, deadline=deadline)
    pings = f", {count_of(pinged, 'ping')}" if pinged else ""
    failures = f" {count_of(failed, 'target')} failed." if failed else ""
    return f"{count_of(delivered, 'message')} delivered{pings}.{failures}"


def ping_all(now: datetime, *, deadline: Deadline | None = None) -> int:
    """Send the pings that are due, the longest overdue first; return the number of successful ones.

    Args:
        deadline: Instant after which no further ping is sent.
    """
    due = _due_pings(now).order_by(F("contacted_at").asc(nulls_first=True), "pk")
    deadline = deadline or Deadline()
    return sum(not _ping(target, now) for target in list(due) if not deadline.has_passed)


def _due_pings(now: datetime) -> QuerySet[AlertTarget]:
    pings = AlertTarget.objects.filter(kind=AlertTarget.Kind.PING, is_enabled=True)
    return pings.exclude(contacted_at__gt=now - PING_EVERY)


def _ping(target: AlertTarget, now: datetime) -> str:
    try:
        send("GET", target.address)
    except NotSent as error:
        _note(target, now, str(error)[:ERROR_LENGTH])
        logger.warning("The ping “%s” failed: %s", target, error)
        return str(error)
    _note(target, now, "")
    return ""


def _claim(delivery: AlertDelivery, now: datetime) -> bool:
    unclaimed = AlertDelivery.objects.filter(
        pk=delivery.pk, attempt=delivery.attempt, next_attempt_at=delivery.next_attempt_at
    )
    changes: dict[str, Any] = {"attempt": F("attempt") + 1, "next_attempt_at": now + CLAIM}
    if not retry_when_busy(lambda: unclaimed.update(**changes)):
        return False
    delivery.attempt += 1
    delivery.next_attempt_at = now + CLAIM
    return True


def _store(delivery: AlertDelivery, **values: Any) -> None:
    own = AlertDelivery.objects.filter(pk=delivery.pk, attempt=delivery.attempt)
    retry_when_busy(lambda: own.update(**values))
    for name, value in values.items():
        setattr(delivery, name, value)


def _note(target: AlertTarget, now: datetime, error: str) -> None:
    rows = AlertTarget.objects.filter(pk=target.pk)
    retry_when_busy(lambda: rows.update(contacted_at=now, error=error))


def _send(target: AlertTarget, delivery: AlertDelivery) -> None:
    """Send a message, or raise NotSent."""
    if target.kind == AlertTarget.Kind.EMAIL:
        _send_email(target, delivery)
    else:
        _send_webhook(target, delivery)


def _send_webhook(target: AlertTarget, delivery: AlertDelivery) -> None:
    # The signature covers the exact bytes, so each attempt must send the same bytes. Receivers compare the
    # time of the signature with their own clock.
    body = json.dumps(delivery.body, ensure_ascii=False, separators=(",", ":"))
    signed_at = datetime.now(UTC)
    try:
        signature = Webhook(target.secret).sign(delivery.message_id, signed_at, body)
    except Exception:
        raise NotSent("The secret of the target is invalid. Enter it again.") from None
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "raptor-admin",
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": signature,
    }
    send("POST", target.address, body=body.encode(), headers=headers)


def _send_email(target: AlertTarget, delivery: AlertDelivery) -> None:
    body = delivery.body
    data = body["data"]
    subject = printable(f"{_SUBJECTS[body['type']]}: {data['text']}")
    lines = [data["text"], ""]
    if data.get("rule"):
        lines += [f"Rule: {data['rule']}", f"Since: {_local(data['fired_at'])}"]
    if data.get("resolved_at"):
        lines.append(f"Resolved: {_local(data['resolved_at'])}")
    if data.get("link"):
        lines.append(data["link"])
    message = EmailMessage(
        subject=f"[Raptor Admin] {subject}"[:_SUBJECT_LENGTH],
        body="\n".join(lines),
        to=[address.strip() for address in target.address.split(",")],
        # A repeated message has the same id, so that mail programs can recognize it.
        headers={"Message-ID": f"<{delivery.message_id}@raptor-admin>"},
    )
    try:
        message.send()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or safe_message(error)
        raise NotSent(f"The mail server did not accept the message: {reason}.") from None


def _local(instant: str) -> str:
    return django_timezone.localtime(datetime.fromisoformat(instant)).strftime("%Y-%m-%d %H:%M")
