"""The metrics of the panel, computed from the database at each request.

Labels contain only public codes and the names of machines, which the operator sets; never text from users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from django.db.models import Count, Min, Q
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from sessions_app.browsers.probe import Liveness
from sessions_app.models import (
    Alert,
    AlertDelivery,
    CleanupPolicy,
    CleanupRun,
    Machine,
    QueuedTask,
    SessionDirectory,
)
from sessions_app.queue.machines import may_start
from sessions_app.queue.worker import BEHIND_AFTER
from sessions_app.reports.aggregate import disk_bytes
from sessions_app.reports.current import current_totals, probe_counts
from sessions_app.reports.run_totals import run_totals

MACHINES_SHOWN = 500

Samples = Iterable[tuple[tuple[str, ...], float]]


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"


class Metric(NamedTuple):
    """A documented metric; docs/operations.md has one row for each."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"raptor_{name}", Kind.GAUGE, labels, meaning)


def _counter(name: str, meaning: str) -> Metric:
    return Metric(f"raptor_{name}_total", Kind.COUNTER, (), meaning)


METRICS = (
    _gauge("sessions", "Number of live sessions: all, expired, invalid, pinned or reclaimable.", "state"),
    _gauge("sessions_bytes", "Size of the documents of live sessions: all or reclaimable.", "state"),
    _gauge("archived_sessions", "Number of removed sessions in the archive."),
    _gauge("archived_bytes", "Size of the documents in the archive."),
    _gauge(
        "storage_counted_timestamp_seconds", "Unix time at which the sessions and the archive were counted."
    ),
    _gauge("database_bytes", "Size of the database on disk."),
    _gauge("runs", "Number of runs by their current result, including deleted runs.", "result"),
    _counter("removed_sessions", "Sessions that runs have removed, including deleted runs."),
    _counter("freed_bytes", "Size of the documents that runs have removed."),
    _counter("restored_sessions", "Sessions that undos have restored."),
    _gauge("policies", "Number of enabled policies with a schedule: scheduled, due or overdue.", "state"),
    _gauge("directories", "Number of session directories: mirrored, failing or disabled.", "state"),
    _gauge("queue_tasks", "Number of tasks: waiting or running.", "state"),
    _gauge("queue_oldest_task_age_seconds", "Age of the oldest waiting task; 0 if no task waits."),
    _gauge(
        "machine_heartbeat_age_seconds", "Time since the last heartbeat of a machine's worker.", "machine"
    ),
    _gauge("machine_clock_skew_seconds", "Clock of a machine minus the clock of the database.", "machine"),
    _gauge("machine_disk_free_bytes", "Free space on the panel's disk on a machine.", "machine"),
    _gauge("probes", "Number of sessions by the result of their last probe.", "result"),
    _gauge("findings", "Number of findings by public code; 0 if there are none.", "code", "severity"),
    _gauge("alerts_open", "Number of alerts that have fired and are not resolved."),
    _gauge("alert_messages_waiting", "Number of alert messages that have not been delivered yet."),
)


def collect(now: datetime, findings: Mapping[tuple[str, str], int]) -> Iterator[Family]:
    """Yield all metrics at an instant of the database's clock, with a fixed number of queries.

    Args:
        findings: The number of findings for each code and severity.
    """
    samples = dict(_samples(now, findings))
    for metric in METRICS:
        family_type = GaugeMetricFamily if metric.kind == Kind.GAUGE else CounterMetricFamily
        family = family_type(metric.name, metric.meaning, labels=metric.labels)
        for labels, value in samples.get(metric.name, ()):
            family.add_metric(labels, value)
        yield family


def _samples(now: datetime, findings: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, Samples]]:
    for source in _SOURCES:
        for name, samples in source(now):
            yield f"raptor_{name}", samples
    yield "raptor_findings", list(findings.items())


def _one(value: float) -> Samples:
    return [((), value)]


def _by_state(**values: float) -> Samples:
    return [((state,), value) for state, value in values.items()]


def _storage(now: datetime) -> Iterator[tuple[str, Samples]]:
    yield "database_bytes", _one(disk_bytes())
    found = current_totals(now)
    if found is None:
        return
    yield (
        "sessions",
        _by_state(
            all=found.session_count,
            expired=found.expired_count,
            invalid=found.invalid_count,
            pinned=found.pinned_count,
            reclaimable=found.reclaimable_count,
        ),
    )
    yield "sessions_bytes", _by_state(all=found.size_bytes, reclaimable=found.reclaimable_bytes)
    yield "archived_sessions", _one(found.archived_count)
    yield "archived_bytes", _one(found.archived_bytes)
    yield "storage_counted_timestamp_seconds", _one(found.taken_at.timestamp())


def _runs(now: datetime) -> Iterator[tuple[str, Samples]]:
    by_state = run_totals()
    total: Counter[str] = Counter()
    for numbers in by_state.values():
        total.update(numbers)
    results = [state for state in CleanupRun.State if state != CleanupRun.State.PLANNED]
    nothing = {"run_count": 0}
    yield "runs", [((state.value,), by_state.get(state, nothing)["run_count"]) for state in results]
    yield "removed_sessions_total", _one(total["removed_count"])
    yield "freed_bytes_total", _one(total["removed_bytes"])
    yield "restored_sessions_total", _one(total["restored_count"])


def _policies(now: datetime) -> Iterator[tuple[str, Samples]]:
    scheduled = CleanupPolicy.objects.filter(is_enabled=True).exclude(schedule="")
    counts = scheduled.aggregate(
        scheduled=Count("pk"),
        due=Count("pk", filter=Q(next_run_at__lte=now)),
        overdue=Count("pk", filter=Q(next_run_at__lt=now - BEHIND_AFTER)),
    )
    yield "policies", _by_state(**counts)


def _directories(now: datetime) -> Iterator[tuple[str, Samples]]:
    counts = SessionDirectory.objects.mirrored().aggregate(
        mirrored=Count("pk", filter=Q(error="")), failing=Count("pk", filter=~Q(error=""))
    )
    disabled = SessionDirectory.objects.filter(is_enabled=False).count()
    yield "directories", _by_state(**counts, disabled=disabled)


def _queue(now: datetime) -> Iterator[tuple[str, Samples]]:
    waiting = Q(started_at=None) & may_start(now)
    row: dict[str, Any] = QueuedTask.objects.filter(finished_at=None).aggregate(
        waiting=Count("pk", filter=waiting),
        running=Count("pk", filter=Q(started_at__isnull=False)),
        oldest=Min("queued_at", filter=waiting),
    )
    yield "queue_tasks", _by_state(waiting=row["waiting"], running=row["running"])
    age = (now - row["oldest"]).total_seconds() if row["oldest"] else 0
    yield "queue_oldest_task_age_seconds", _one(max(0.0, age))


def _machines(now: datetime) -> Iterator[tuple[str, Samples]]:
    machines = list(Machine.objects.order_by("name")[:MACHINES_SHOWN])
    yield (
        "machine_heartbeat_age_seconds",
        [((m.name,), max(0.0, (now - m.heartbeat_at).total_seconds())) for m in machines],
    )
    yield "machine_clock_skew_seconds", [((m.name,), m.clock_skew_seconds) for m in machines]
    yield (
        "machine_disk_free_bytes",
        [((m.name,), m.disk_free_bytes) for m in machines if m.disk_free_bytes is not None],
    )


def _alerts(now: datetime) -> Iterator[tuple[str, Samples]]:
    yield "alerts_open", _one(Alert.objects.filter(resolved_at=None).count())
    waiting = AlertDelivery.objects.filter(next_attempt_at__isnull=False)
    yield "alert_messages_waiting", _one(waiting.count())


def _probes(now: datetime) -> Iterator[tuple[str, Samples]]:
    counts = probe_counts()
    yield "probes", [((result.value,), counts.get(result.value, 0)) for result in Liveness]


_SOURCES: tuple[Callable[[datetime], Iterator[tuple[str, Samples]]], ...] = (
    _storage,
    _runs,
    _policies,
    _directories,
    _queue,
    _machines,
    _probes,
    _alerts,
)
