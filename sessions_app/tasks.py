"""The tasks that django-q2 runs. Each calls a service and returns a sentence, which ``QueuedTask`` stores.

Delivery is at least once, so any task may run again at any time. Tasks take no endpoints as arguments, and
``_task`` keeps endpoints in exceptions out of the queue's tables.
"""

from __future__ import annotations

import functools
import io
import logging
import traceback
from collections.abc import Callable, Sized
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec

from django.conf import settings
from django.core.management import CommandError, call_command

from sessions_app import cleanup, liveness, policies, reports, search
from sessions_app.alerts import delivery, rules
from sessions_app.deadline import Deadline
from sessions_app.mirror import registry
from sessions_app.models import CleanupPolicy, CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.models.ids import repair_sequence
from sessions_app.queue import outbox, schedules
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.queue.turns import Turn
from sessions_app.reports.run_totals import add_finished_runs
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.session.masking import safe_message
from sessions_app.text import count_of
from sessions_app.transactions import retry_when_busy
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import allocate_reserve, retry_with_room

logger = logging.getLogger(__name__)
_P = ParamSpec("_P")


class TaskFailed(Exception):
    """A task failed. The message is stored, so it contains no endpoint."""


def _task(function: Callable[_P, str]) -> Callable[..., str]:
    """Mask endpoints in the log and in the failure, and store the result of a task that was queued."""

    @functools.wraps(function)
    def run(*args: Any, queued_task: int | None = None, **kwargs: Any) -> str:
        def attempt() -> str:
            try:
                # A task may be run again at any time, so it may when there is room again.
                return retry_with_room(function)(*args, **kwargs)
            except Exception as error:
                if message := disk_full_message(error):
                    logger.error("%s failed. %s", function.__name__, message)
                    raise TaskFailed(message) from None
                logger.error("%s failed.\n%s", function.__name__, mask_endpoints(traceback.format_exc()))
                raise TaskFailed(safe_message(error)) from None

        return attempt() if queued_task is None else outbox.perform(queued_task, attempt)

    return run


@_task
def tick() -> str:
    """Queue what is due, and what the queue or a worker has lost. The schedule runs this each minute."""
    now, counts, failures = database_now(), [], []
    parts: tuple[tuple[str, Callable[[datetime], Sized]], ...] = (
        ("lost task", outbox.send_lost),
        ("job", schedules.queue_due_jobs),
        ("sweep", policies.start_due),
        ("indexing task", _queue_indexing),
        ("alert", rules.evaluate),
        ("delivery task", delivery.queue_due),
    )
    for what, queue in parts:
        try:
            counts.append(count_of(len(retry_with_room(queue)(now)), what))
        except Exception as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup("The other parts of the tick were done", failures)
    return f"{', '.join(counts)} queued."


def _queue_indexing(now: datetime) -> list[Any]:
    return list(filter(None, [enqueue(Task.INDEX_SESSIONS)])) if search.is_missing_any() else []


@_task
def index_sessions() -> str:
    """Index the sessions that were imported, for the search; continue in a new task at the deadline."""
    search.prepare()
    deadline = _deadline()
    count = search.index_sessions(deadline=deadline)
    if deadline.has_passed:
        enqueue(Task.INDEX_SESSIONS)
    return f"{count_of(count, 'session')} indexed."


@_task
def check_index() -> str:
    """Check the search index, and repair it."""
    return search.check_index(deadline=_deadline()).describe()


@_task
def sweep(policy_pk: int, due_at: str, trigger: str = "schedule", actor: str = "") -> str:
    """Run the steps of a policy; a sweep that reaches its deadline continues in a new task."""
    policy = CleanupPolicy.objects.filter(pk=policy_pk).first()
    if policy is None:
        return f"Policy {policy_pk} no longer exists."
    if trigger == CleanupRun.Trigger.SCHEDULE and not policy.is_enabled:
        return f"“{policy}” is disabled."
    return _sweep(policy, datetime.fromisoformat(due_at), trigger, actor, _deadline())


@_task
def continue_cleanup(run_pk: int) -> str:
    """Resume a run and the sweep that it belongs to; leave a running or finished run alone."""
    return _run(CleanupRun.objects.get(pk=run_pk))


@_task
def run_planned(run_pk: int, trigger: str, actor: str) -> str:
    """Run a plan that a person confirmed; the run records this person as its actor."""
    return _run(CleanupRun.objects.get(pk=run_pk), trigger=trigger, actor=actor)


@_task
def sync_directories(machine: str = "") -> str:
    """Mirror the enabled session directories of this machine; a failure does not stop the others."""
    synced, failures = registry.sync_enabled(
        trigger="schedule", actor="sync_directories", deadline=_deadline()
    )
    keys = ("added", "changed", "vanished", "written")
    counts = {key: sum(getattr(result, key) for result in synced) for key in keys}
    message = f"{count_of(len(synced), 'directory', 'directories')} mirrored"
    message += "".join(f", {n:,} {key}" for key, n in counts.items() if n or key != "written")
    notes = [note for result in synced for note in result.notes]
    unwritten = [files.message for files in cleanup.unwritten_files(cleanup.sessions_missing_files())]
    return " ".join((f"{message}.", *notes, *unwritten, *failures))


@_task
def probe_sessions(machine: str = "") -> str:
    """Probe the browsers on a machine; without a name, the browsers that every machine can probe."""
    if not settings.RAPTOR_PROBE_SECONDS:
        return "Probes are disabled (RAPTOR_PROBE_SECONDS is 0)."
    deadline = Turn.of(Task.PROBE_SESSIONS, seconds=liveness.PASS_SECONDS)
    machines = (machine,) if machine else liveness.unnamed_machines()
    counts = [liveness.probe_due(machine, deadline=deadline) for machine in machines]
    if any(each.is_interrupted for each in counts):
        enqueue(Task.PROBE_SESSIONS, *filter(None, (machine,)), machine=machine)
    return " ".join(f"{each.describe()}." for each in counts if each.probed) or "No session was due."


@_task
def close_browsers(requested: list[tuple[int, str, bool]], actor: str, expires_at: str) -> str:
    """Close the browsers of sessions on this machine, unless the request has expired.

    Args:
        requested: For each session its primary key, the digest of its endpoint, and whether to close its
            browser even if it is in use.
    """
    left = datetime.fromisoformat(expires_at) - database_now()
    if left <= timedelta():
        return "The request has expired: no browser was closed."
    browsers = liveness.browsers_here([(key, digest) for key, digest, _ in requested])
    confirmed = {key for key, _, is_confirmed in requested if is_confirmed}
    deadline = Deadline.after(left.total_seconds())
    closings = liveness.close_here(browsers, actor=actor, confirmed=confirmed, deadline=deadline)
    closed = sum(one.was_running and not one.reason for one in closings)
    kept = sum(bool(one.reason) for one in closings)
    return f"{count_of(closed, 'browser')} closed, {kept:,} left running."


@_task
def open_browser(namespace: str, name: str, url: str, actor: str) -> str:
    """Open a headless browser on this machine, and save it as a session."""
    report = io.StringIO()
    try:
        call_command(
            "open_browser", name, namespace=namespace, url=url, headless=True, format="json", stdout=report
        )
    except CommandError as failure:
        raise TaskFailed(safe_message(failure)) from None
    liveness.record_opened(namespace, name, actor=actor)
    return f"A browser was opened for “{namespace}/{name}”."


@_task
def undo_run(run_pk: int, actor: str) -> str:
    """Restore the sessions that a run removed."""
    return _undo(CleanupRun.objects.get(pk=run_pk), actor)


@_task
def continue_undo(run_pk: int) -> str:
    """Resume an undo that reached its deadline."""
    run = CleanupRun.objects.get(pk=run_pk)
    return _undo(run, run.undone_by)


@_task
def empty_archive() -> str:
    """Delete sessions permanently after they have been in the archive for ``RAPTOR_ARCHIVE_DAYS``."""
    before = database_now() - timedelta(days=settings.RAPTOR_ARCHIVE_DAYS)
    deleted, size_bytes = cleanup.empty_archive(before, deadline=_deadline())
    kept = cleanup.count_kept_pins(before)
    stayed = f" {count_of(kept, 'pinned session')} without a file stayed." if kept else ""
    return f"{count_of(deleted, 'session')} deleted from the archive, {size_bytes:,} bytes.{stayed}"


@_task
def take_snapshot(requested_at: str = "") -> str:
    """Count all sessions for the screens; simultaneous requests share one snapshot."""
    if requested_at and reports.has_snapshot_since(datetime.fromisoformat(requested_at)):
        return "A newer snapshot already exists."
    taken = reports.take_snapshot(as_of=database_now(), max_age_days=settings.RAPTOR_MAX_AGE_DAYS)
    return f"{count_of(taken.session_count, 'session')} counted, {taken.size_bytes:,} bytes."


@_task
def tidy_up() -> str:
    """Mark stalled runs and resume their sweeps, drop abandoned plans and old results, and sum finished runs.

    The reserve that a full disk took is allocated again as soon as there is room.
    """
    now = database_now()
    allocate_reserve()
    repair_sequence()
    stalled = cleanup.mark_stalled_runs(as_of=now)
    for run in cleanup.abandoned_sweeps(stalled, as_of=now):
        if run.policy_id is not None and run.due_at is not None:
            _queue_sweep(run.policy_id, run.due_at, run.trigger, run.actor)
        else:
            enqueue(Task.CONTINUE_CLEANUP, run.pk)
    cleanup.drop_old_plans(as_of=now)
    liveness.enrol_sessions(now, is_complete=True)
    liveness.reassign_forgotten()
    liveness.drop_old_events(now)
    rules.drop_old_alerts(now)
    add_finished_runs()
    outbox.drop_old_results()
    return f"{count_of(len(stalled), 'stalled run')} marked."


@_task
def deliver_alerts(requested_at: str = "") -> str:
    """Send the messages of alerts that are due, and the pings that show that the worker is alive."""
    return delivery.deliver_all(database_now())


def _run(run: CleanupRun, *, trigger: str = "", actor: str = "") -> str:
    """Run a plan or the rest of a run, then the later steps of its sweep."""
    deadline = _deadline()
    # Its worker may have died after this step and before the next one.
    is_finished_step = run.policy is not None and run.state == CleanupRun.State.SUCCEEDED
    message = ""
    if not is_finished_step:
        try:
            run = cleanup.run_cleanup(
                run,
                trigger=trigger,
                actor=actor,
                deadline=deadline,
                before_removal=partial(liveness.close_for_run, run),
            )
        except cleanup.CleanupInProgress as reason:
            cleanup.hold_again(run)
            return _refused(run, reason)
        except cleanup.CleanupRefused as reason:
            return _refused(run, reason)
        message = " ".join(filter(None, (f"{cleanup.summary(run)}.", run.error)))
        if run.state == CleanupRun.State.INTERRUPTED:
            enqueue(Task.CONTINUE_CLEANUP, run.pk)
            return message
    if run.policy is None or run.due_at is None:
        return message
    if deadline.has_passed:
        _queue_sweep(run.policy.pk, run.due_at, run.trigger, run.actor)
        return message
    return _sweep(run.policy, run.due_at, run.trigger, run.actor, deadline)


def _sweep(policy: CleanupPolicy, due_at: datetime, trigger: str, actor: str, deadline: Deadline) -> str:
    try:
        result = policies.sweep(
            policy, due_at=due_at, trigger=trigger, actor=actor or policy.name, deadline=deadline
        )
    except cleanup.CleanupRefused as reason:
        return policies.postpone(policy, due_at, trigger=trigger, reason=str(reason), now=database_now())
    if result.is_interrupted:
        _queue_sweep(policy.pk, due_at, trigger, actor)
    return result.describe()


def _queue_sweep(policy_pk: int, due_at: datetime, trigger: str, actor: str) -> None:
    enqueue(Task.SWEEP, policy_pk, due_at.isoformat(), trigger, actor)


def _undo(run: CleanupRun, actor: str) -> str:
    try:
        run = cleanup.undo_cleanup(run, actor=actor, deadline=_deadline())
    except (cleanup.CleanupRefused, cleanup.CannotUndo) as reason:
        return _refused(run, reason)
    if run.state == CleanupRun.State.INTERRUPTED:
        enqueue(Task.CONTINUE_UNDO, run.pk)
    message = [f"{count_of(run.restored_count, 'session')} of run {run.pk} restored."]
    message += cleanup.describe_access(run.changed_access)
    message += [files.message for files in cleanup.unwritten_files(cleanup.sessions_missing_files_of(run))]
    return " ".join(message)


def _refused(run: CleanupRun, reason: Exception) -> str:
    # The run's page shows it as queued until this is cleared.
    retry_when_busy(lambda: CleanupRun.objects.filter(pk=run.pk).update(queued_at=None))
    logger.info("%s", reason)
    return str(reason)


def _deadline() -> Deadline:
    return Deadline.after(settings.RAPTOR_TASK_DEADLINE_SECONDS)
