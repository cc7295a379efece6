"""The size of a cleanup's scope before it starts, counted as rarely as possible."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sessions_app.cleanup import measure_scope, run_cleanup
from sessions_app.models import CleanupRun
from sessions_app.models.clock import database_now
from sessions_app.policies import sweep
from tests.factories import OLD, make_policy, make_session, make_sessions, plan

pytestmark = pytest.mark.django_db


def test_a_sweep_counts_the_scope_of_a_step_once_before_it_and_once_after_it() -> None:
    make_sessions(3, **OLD)
    policy = make_policy("Tidy", "expired", brake_percent=100)
    with CaptureQueriesContext(connection) as queries:
        result = sweep(policy, due_at=database_now(), trigger="schedule")
    counts = [query["sql"] for query in queries if 'AS "sessions", COALESCE(SUM(' in query["sql"]]
    assert len(counts) == 2
    assert [(run.before_count, run.after_count) for run in result.runs] == [(3, 0)]


def test_the_scope_of_an_old_plan_is_counted_again_at_the_start() -> None:
    make_sessions(3, **OLD)
    run = plan(expired=True)
    measure_scope(run)
    make_session("later")
    CleanupRun.objects.filter(pk=run.pk).update(planned_at=database_now() - timedelta(minutes=2))
    run.refresh_from_db()
    run_cleanup(run)
    assert (run.before_count, run.after_count) == (4, 1)


def test_counting_a_scope_changes_nothing_in_a_run_that_has_started() -> None:
    make_sessions(3, **OLD)
    seen = plan(expired=True)
    run_cleanup(CleanupRun.objects.get(pk=seen.pk))
    measure_scope(seen)
    assert seen.before_count == 0
    assert CleanupRun.objects.get(pk=seen.pk).before_count == 3
