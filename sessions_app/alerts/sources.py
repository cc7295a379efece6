"""The queries for the findings, one function for each kind. All queries use indexes and limits.

They return the oldest findings first, so that new findings beyond a limit do not displace findings that have
raised an alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.models import Max, Min, Sum
from django.utils import timezone

from sessions_app.alerts.findings import MAX_OF_A_CODE, Code, Finding, Source
from sessions_app.alerts.run_sources import failed_runs, held_runs, large_runs
from sessions_app.models import AlertRule, CleanupPolicy, Machine, QueuedTask, SessionDirectory
from sessions_app.queue.machines import are_all_new, is_silent
from sessions_app.queue.schedules import JOBS, next_instant
from sessions_app.queue.worker import BEHIND_AFTER, Worker, WorkerState, worker_state
from sessions_app.reports.current import stored_bytes
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.text import clock, count_of, manage_command, printable
from sessions_app.transactions.disk_space import disk_space


def missing_migrations(now: datetime) -> Iterator[Finding]:
    """Yield a finding if migrations have not been applied."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        count = len(_migrations_on_disk().difference(cursor.fetchall()))
    if count:
        migrations = count_of(count, "migration has", "migrations have")
        text = f"{migrations} not been applied. Run {manage_command('migrate')}."
        yield Finding(Code.MIGRATIONS_MISSING, text)


@lru_cache
def _migrations_on_disk() -> frozenset[tuple[str, str]]:
    """Return the migrations of the program. Cached: they cannot change at run time, and loading is slow."""
    return frozenset(MigrationLoader(None).disk_migrations)


def workers(now: datetime) -> Iterator[Finding]:
    """Yield the findings about the queue, the workers and the disks of all machines."""
    worker = worker_state(now)
    yield from _full_disks(worker.machines, now)
    yield from worker_findings(worker, now)
    if len(worker.machines) > 1:
        # If there is only one machine, WORKER_STOPPED reports it.
        yield from _silent_machines(worker.machines, now)


def _full_disks(machines: Iterable[Machine], now: datetime) -> Iterator[Finding]:
    """Yield full disks: of this machine now, and of other machines at their last heartbeat."""
    disk = disk_space()
    disks = {settings.RAPTOR_MACHINE: disk.free_bytes or 0} if disk.is_full else {}
    for machine in machines:
        is_known = machine.name != settings.RAPTOR_MACHINE and not is_silent(machine, now)
        if is_known and machine.is_disk_full:
            disks[machine.name] = machine.disk_free_bytes or 0
    for name, free in sorted(disks.items()):
        text = (
            f"The disk of {name} is full or almost full: {free // (1024 * 1024):,} MB free. Empty the "
            f"archive ({manage_command('empty_archive')}), or free space on the disk."
        )
        yield Finding(Code.DISK_FULL, text, name)


def _silent_machines(machines: Iterable[Machine], now: datetime) -> Iterator[Finding]:
    silent = (machine for machine in machines if is_silent(machine, now))
    for machine in islice(silent, MAX_OF_A_CODE):
        text = (
            f"The worker of {machine.name} is silent: its last heartbeat was at "
            f"{clock(machine.heartbeat_at, now)}. Start the worker. If the machine is no longer used, this "
            "message disappears after 7 days."
        )
        yield Finding(Code.MACHINE_SILENT, text, machine.name)


def worker_findings(worker: Worker, now: datetime) -> Iterator[Finding]:
    since = clock(worker.since, now)
    if not worker.is_queue_reachable:
        yield Finding(
            Code.QUEUE_UNREACHABLE,
            "The task queue cannot be reached. No request is lost: requests start when the queue answers "
            "again. Check Redis (RAPTOR_REDIS_URL).",
        )
    if worker.state == WorkerState.NEVER:
        yield Finding(
            Code.WORKER_MISSING,
            "No worker has been started yet. The worker runs sweeps, syncs and large cleanups. "
            f"Start the worker service, or run {manage_command('qcluster')}.",
        )
    elif worker.state == WorkerState.STOPPED:
        yield Finding(
            Code.WORKER_STOPPED,
            f"No worker is running: the last heartbeat was at {since}. Sweeps, syncs and large cleanups "
            f"wait. Start the worker service, or run {manage_command('qcluster')}.",
        )
    elif worker.state == WorkerState.BEHIND:
        yield Finding(
            Code.WORKER_BEHIND,
            f"The worker is behind: a task has waited, or none has finished, since {since}. The worker is "
            "busy or hangs.",
        )
    for machine, seconds in worker.skewed:
        yield Finding(
            Code.CLOCK_WRONG,
            f"The clock of {machine} differs from the database's by {seconds:.0f} seconds. Schedules use the "
            "database's clock and run on time, but the log of the machine has wrong times. Synchronize its "
            "clock.",
            machine,
        )


def overdue_schedules(now: datetime) -> Iterator[Finding]:
    """Yield jobs and policies that are over ten minutes late, unless all workers have just started."""
    late = now - BEHIND_AFTER
    if are_all_new(Machine.objects.all(), now, since=late):
        return
    jobs = QueuedTask.objects.filter(task__in=[job.task.value for job in JOBS], due_at__lte=now)
    last = {row["task"]: row["last"] for row in jobs.values("task").annotate(last=Max("due_at"))}
    names = []
    for job in JOBS:
        due_at = next_instant(job.cron, last[job.task.value]) if job.task.value in last else None
        if due_at is not None and due_at < late:
            names.append(job.task.value.rpartition(".")[2])
    if names:
        text = f"The schedule is overdue: {', '.join(names)} should have started over ten minutes ago."
        yield Finding(Code.SCHEDULE_OVERDUE, text, "jobs")
    for policy in CleanupPolicy.objects.filter(is_enabled=True, next_run_at__lt=late)[:MAX_OF_A_CODE]:
        due = clock(policy.next_run_at, now)
        yield Finding(
            Code.SCHEDULE_OVERDUE,
            f"The sweep of “{policy}” is overdue: it should have started at {due}.",
            f"policy-{policy.pk}",
            concealed_text=f"The sweep of a policy is overdue: it should have started at {due}.",
            namespace=policy.namespace,
            link="cleanuppolicy",
            link_id=policy.pk,
            permission="view_cleanuppolicy",
        )


def directories(now: datetime) -> Iterator[Finding]:
    """Yield the session directories that the schedule cannot mirror."""
    for directory in SessionDirectory.objects.mirrored().exclude(error="").order_by("pk")[:MAX_OF_A_CODE]:
        yield Finding(
            Code.DIRECTORY_UNREACHABLE,
            directory.error,
            str(directory.pk),
            concealed_text="A session directory has an error.",
            namespace=directory.namespace,
            link="sessiondirectory",
            link_id=directory.pk,
            permission="view_sessiondirectory",
        )


def past_limits(now: datetime) -> Iterator[Finding]:
    """Yield runs that removed more sessions than a rule allows, and storage that exceeds a rule's limit."""
    rules = AlertRule.objects.filter(is_enabled=True).exclude(threshold=None)
    lowest = dict(rules.order_by("kind").values_list("kind").annotate(lowest=Min("threshold")))
    if (limit := lowest.get(AlertRule.Kind.RUN_REMOVED_MANY)) is not None:
        yield from large_runs(limit, now)
    if (limit := lowest.get(AlertRule.Kind.STORAGE)) is not None:
        yield from _storage(limit, now)


def _storage(limit: int, now: datetime) -> Iterator[Finding]:
    size_bytes = stored_bytes(now)
    if size_bytes is not None and size_bytes > limit:
        yield Finding(
            Code.STORAGE_OVER_LIMIT,
            f"The documents of all sessions, live and archived, take {size_bytes:,} bytes.",
            concealed_text="The documents of all sessions take more bytes than a rule allows.",
            permission="view_browsersession",
            amount=size_bytes,
        )


def locked_logins(now: datetime) -> Iterator[Finding]:
    """Yield a finding if user names are locked after wrong passwords."""
    if not apps.is_installed("axes"):
        return
    attempts: Any = apps.get_model("axes", "AccessAttempt").objects
    # django-axes uses the clock of the process.
    recent = attempts.filter(attempt_time__gt=timezone.now() - settings.AXES_COOLOFF_TIME)
    failures = (
        recent.order_by().values("username", "ip_address").annotate(failures=Sum("failures_since_start"))
    )
    locked = failures.filter(failures__gte=settings.AXES_FAILURE_LIMIT).order_by("username", "ip_address")
    found = list(locked[: MAX_OF_A_CODE + 1])
    if found:
        # Masked before it is cut: the beginning of a password would not be recognized.
        name, address = mask_endpoints(found[0]["username"] or ""), found[0]["ip_address"]
        who = f"user {name:.150} at {address}" if len(found) == 1 else _count_of_pairs(len(found))
        yield Finding(
            Code.LOGIN_LOCKED,
            f"Login is locked for {who} after too many wrong passwords.",
            permission="view_queuedtask",
        )


def _count_of_pairs(count: int) -> str:
    number = f"over {MAX_OF_A_CODE}" if count > MAX_OF_A_CODE else str(count)
    return f"{number} combinations of user name and address"


WORKER_SOURCES = (workers, overdue_schedules)
SOURCES = (
    missing_migrations,
    workers,
    overdue_schedules,
    directories,
    held_runs,
    failed_runs,
    past_limits,
    locked_logins,
)


def find(now: datetime, sources: Iterable[Source] = SOURCES) -> list[Finding]:
    """Return the findings at an instant of the database's clock, the most important first.

    The number of queries is fixed, and each query reads a bounded number of rows. Texts can contain input of
    users and programs, so endpoints are masked and control characters are escaped.
    """
    found = [finding for source in sources for finding in source(now)]
    found.sort(key=lambda finding: list(Code).index(finding.code))
    return [replace(finding, text=printable(mask_endpoints(finding.text))) for finding in found]
