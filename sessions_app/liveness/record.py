"""Stores what probes found, without changing the sessions: sealed plans stay valid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings

from sessions_app.browsers.probe import Liveness
from sessions_app.models import BrowserSession, DatabaseClock, Probe, SessionDocument, SessionEvent
from sessions_app.session.browser_states import BrowserState
from sessions_app.transactions import repeatable_transaction, retried_when_busy, retry_when_busy

GONE_AFTER = timedelta(minutes=10)
"""A browser is gone if two probes at least this far apart did not find it."""

EARLIER = 0.75
"""Fraction of the interval after which a browser that answered is probed again. The second failed probe
follows ``GONE_AFTER`` later; both waits together must not exceed two intervals."""

EVENTS_KEPT = timedelta(days=365)
EVENTS_DROPPED_AT_ONCE = 10_000

_FAILING = (Liveness.REPLACED, Liveness.UNREACHABLE)
_COLUMNS = ("browser_state", "in_use_at")


class Answer(NamedTuple):
    """The answer of an endpoint.

    Args:
        reason: Why no browser was found, as a clause without secrets.
        is_in_use: Whether a client is connected; None if this machine cannot see the clients.
        is_closed: The panel has just closed the browser, so a second probe is not needed.
    """

    pk: int
    cdp_url: str
    liveness: Liveness
    reason: str = ""
    is_in_use: bool | None = None
    memory_bytes: int | None = None
    is_closed: bool = False


def digest_of(cdp_url: str) -> str:
    """Return the digest that stands for an endpoint in ``Probe``, which does not store the endpoint."""
    return hashlib.sha256(cdp_url.encode("utf-8", "surrogatepass")).hexdigest()


@retried_when_busy
def record(answers: Sequence[Answer], now: datetime) -> None:
    """Store answers, and the states that they change, in one transaction."""
    with repeatable_transaction():
        keys = [answer.pk for answer in answers]
        earlier = Probe.objects.in_bulk(keys)
        rows = [_probe(answer, earlier.get(answer.pk), now) for answer in answers]
        columns = [field.attname for field in Probe._meta.local_concrete_fields if not field.primary_key]
        Probe.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["session"], update_fields=columns
        )
        _record_states(zip(answers, rows, strict=True), keys, now)


def _probe(answer: Answer, earlier: Probe | None, now: datetime) -> Probe:
    endpoint = digest_of(answer.cdp_url)
    is_failing = answer.liveness in _FAILING
    failing_since = now if is_failing else None
    if is_failing and earlier is not None and earlier.endpoint == endpoint:
        failing_since = earlier.failing_since or now
    interval = timedelta(seconds=settings.RAPTOR_PROBE_SECONDS or GONE_AFTER.total_seconds())
    return Probe(
        session_id=answer.pk,
        machine=earlier.machine if earlier else "",
        due_at=now + (interval if is_failing else EARLIER * interval),
        probed_at=now,
        endpoint=endpoint,
        result=answer.liveness.value,
        reason=answer.reason,
        failing_since=failing_since,
        is_in_use=answer.is_in_use,
        memory_bytes=answer.memory_bytes,
    )


def _state_of(answer: Answer, probe: Probe, now: datetime) -> BrowserState:
    if answer.liveness is Liveness.ALIVE:
        return BrowserState.IN_USE if answer.is_in_use else BrowserState.ALIVE
    has_failed_twice = probe.failing_since is not None and now - probe.failing_since >= GONE_AFTER
    return BrowserState.GONE if has_failed_twice or answer.is_closed else BrowserState.UNKNOWN


def _record_states(found: Iterable[tuple[Answer, Probe]], keys: Sequence[int], now: datetime) -> None:
    known = {
        pk: columns
        for pk, *columns in BrowserSession.objects.filter(pk__in=keys).values_list("pk", *_COLUMNS)
    }
    events = []
    for answer, probe in found:
        if answer.pk not in known:
            # The session was removed in the meantime.
            continue
        state_before, in_use_at = known[answer.pk]
        state = _state_of(answer, probe, now)
        changes: dict[str, Any] = {}
        if state_before != state.value:
            # The time of writing, so that a plan that was sealed earlier does not include this change.
            changes = {
                "browser_state": state.value,
                "browser_since": DatabaseClock(),
            }
        if answer.is_in_use:
            changes["in_use_at"] = DatabaseClock()
        elif in_use_at is not None and state_before is None:
            # It was in use at an earlier endpoint.
            changes["in_use_at"] = None
        is_changed = bool(changes) and _has_endpoint(answer)
        if is_changed:
            BrowserSession.objects.filter(pk=answer.pk).record_browser(**changes)
        if is_changed and "browser_state" in changes and state is BrowserState.GONE and not answer.is_closed:
            code = SessionEvent.Code.GONE
            events.append(SessionEvent(session_key=answer.pk, code=code, details=probe.reason))
    SessionEvent.objects.bulk_create(events)


def _has_endpoint(answer: Answer) -> bool:
    """Lock a session, and check that it was not removed or saved with another endpoint since the probe."""
    # Two statements: PostgreSQL would read the document as it was before waiting for the lock.
    is_live = list(BrowserSession.objects.filter(pk=answer.pk).select_for_update().values_list("pk"))
    return bool(is_live) and SessionDocument.objects.filter(pk=answer.pk, cdp_url=answer.cdp_url).exists()


def record_opened(namespace: str, name: str, *, actor: str) -> None:
    """Record in the history of a session that a user has opened its browser."""
    code = SessionEvent.Code.OPENED
    found = BrowserSession.objects.filter(namespace=namespace, name=name).values_list("pk", flat=True)
    events = [SessionEvent(session_key=pk, code=code, actor=actor) for pk in found]
    retry_when_busy(lambda: SessionEvent.objects.bulk_create(events))


def drop_old_events(now: datetime) -> None:
    """Delete events that are older than a year, the oldest first."""
    last = SessionEvent.objects.filter(at__lt=now - EVENTS_KEPT).order_by("at").values_list("pk", flat=True)
    keys = list(last[:EVENTS_DROPPED_AT_ONCE])
    if keys:
        retry_when_busy(SessionEvent.objects.filter(pk__in=keys).delete)
