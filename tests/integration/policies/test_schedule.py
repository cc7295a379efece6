"""When policies are due, and the start of their sweeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from sessions_app import policies
from sessions_app.models import CleanupPolicy
from sessions_app.policies import next_run, start_due, validate_schedule
from tests.factories import DUE, Queued, make_policy

pytestmark = pytest.mark.django_db


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


class TestNextRun:
    @pytest.mark.parametrize(
        ("schedule", "after", "expected"),
        [
            ("0 2 * * *", "2026-11-22T01:59:59+01:00", "2026-11-22T02:00:00+01:00"),
            ("0 2 * * *", "2026-11-22T02:00:00+01:00", "2026-11-23T02:00:00+01:00"),
            ("30 6 * * 1-5", "2026-11-20T07:00:00+01:00", "2026-11-23T06:30:00+01:00"),
            # On this night the clocks skip 02:00 to 03:00.
            ("0 2 * * *", "2026-03-28T02:00:20+01:00", "2026-03-29T03:00:00+02:00"),
            ("30 2 * * *", "2026-03-28T02:30:20+01:00", "2026-03-29T03:00:00+02:00"),
            ("0 2 * * *", "2026-03-29T03:00:20+02:00", "2026-03-30T02:00:00+02:00"),
            # On this night that hour occurs twice, and the sweep runs once.
            ("0 2 * * *", "2026-10-24T02:00:20+02:00", "2026-10-25T02:00:00+02:00"),
            ("0 2 * * *", "2026-10-25T02:00:20+02:00", "2026-10-26T02:00:00+01:00"),
            ("30 2 * * *", "2026-10-25T02:30:20+02:00", "2026-10-26T02:30:00+01:00"),
            ("30 2 * * *", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"),
            # A half-hourly schedule runs in both hours.
            ("*/30 * * * *", "2026-10-25T02:30:20+02:00", "2026-10-25T02:00:00+01:00"),
            ("*/30 * * * *", "2026-03-29T01:30:20+01:00", "2026-03-29T03:00:00+02:00"),
        ],
    )
    def test_follows_the_local_time(self, settings: Any, schedule: str, after: str, expected: str) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        policy = CleanupPolicy(schedule=schedule, is_enabled=True)
        assert next_run(policy, after=berlin(after)) == berlin(expected)

    def test_is_daily_over_a_year_with_clock_changes(self, settings: Any) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        policy = CleanupPolicy(schedule="30 2 * * *", is_enabled=True)
        instant, days = berlin("2026-01-01T12:00:00+01:00"), set()
        for _ in range(365):
            following = next_run(policy, after=instant)
            assert following is not None
            # The dispatcher runs every minute and starts a little late.
            assert next_run(policy, after=following - timedelta(minutes=1)) == following
            instant = following + timedelta(seconds=20)
            days.add(following.date())
        assert len(days) == 365

    def test_is_none_without_a_schedule_or_while_disabled(self) -> None:
        assert next_run(CleanupPolicy(is_enabled=True), after=DUE) is None
        assert next_run(CleanupPolicy(schedule="0 2 * * *"), after=DUE) is None

    def test_of_an_unreadable_schedule_is_none_and_does_not_stop_others(
        self, caplog: pytest.LogCaptureFixture, queued: Queued
    ) -> None:
        CleanupPolicy.objects.update(is_enabled=False)
        make_policy("A", schedule="at two", is_enabled=True, next_run_at=DUE)
        make_policy("B", schedule="0 2 * * *", is_enabled=True, next_run_at=DUE)
        assert [policy.name for policy in start_due(DUE)] == ["A", "B"]
        assert "cannot be read: at two" in caplog.text
        assert CleanupPolicy.objects.get(name="A").next_run_at is None

    @pytest.mark.parametrize(
        "text", ["* * * *", "0 0 31 4 *", "x 2 * * *", "0 25 * * *", "@daily", "1 2 3 4 5 6"]
    )
    def test_validation_refuses_an_unreadable_schedule_with_an_example(self, text: str) -> None:
        with pytest.raises(ValidationError, match="“0 2 \\* \\* \\*”"):
            validate_schedule(text)

    @pytest.mark.parametrize(
        "text", ["", "0 2 * * *", "*/5 * * * *", "0 0 1 1 *", "0 0 29 2 *", "0 2 * * MON-FRI"]
    )
    def test_validation_accepts_cron_expressions(self, text: str) -> None:
        validate_schedule(text)


class TestDue:
    @pytest.fixture(autouse=True)
    def policy(self) -> CleanupPolicy:
        CleanupPolicy.objects.update(is_enabled=False)
        return make_policy("Nightly", schedule="0 2 * * *", is_enabled=True)

    def test_a_new_policy_gets_its_next_run_without_starting(
        self, policy: CleanupPolicy, queued: Queued
    ) -> None:
        assert start_due(DUE - timedelta(hours=1)) == []
        policy.refresh_from_db()
        assert policy.next_run_at == DUE
        assert queued == []

    def test_a_due_policy_is_queued_once_and_advanced(self, policy: CleanupPolicy, queued: Queued) -> None:
        start_due(DUE - timedelta(hours=1))
        assert start_due(DUE - timedelta(seconds=1)) == []
        assert start_due(DUE + timedelta(seconds=20)) == [policy]
        assert start_due(DUE + timedelta(seconds=80)) == []
        assert queued == [("sessions_app.tasks.sweep", policy.pk, DUE.isoformat())]
        policy.refresh_from_db()
        assert policy.next_run_at == DUE + timedelta(days=1)

    def test_a_worker_that_was_off_for_days_sweeps_once(self, policy: CleanupPolicy, queued: Queued) -> None:
        start_due(DUE - timedelta(hours=1))
        back = DUE + timedelta(days=3, hours=5)
        policies.plan_next_runs(back)
        assert start_due(back) == [policy]
        assert start_due(back + timedelta(minutes=1)) == []
        assert len(queued) == 1

    def test_a_next_run_that_was_changed_in_the_meantime_is_kept(
        self, policy: CleanupPolicy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start_due(DUE - timedelta(hours=1))
        noon = DUE + timedelta(hours=10)

        def save_at_this_moment(*args: Any) -> None:
            CleanupPolicy.objects.filter(pk=policy.pk).update(next_run_at=noon)

        monkeypatch.setattr("sessions_app.policies.schedule.enqueue", save_at_this_moment)
        start_due(DUE)
        policy.refresh_from_db()
        assert policy.next_run_at == noon

    def test_a_refused_sweep_is_retried_for_an_hour(self, policy: CleanupPolicy, queued: Queued) -> None:
        start_due(DUE - timedelta(hours=1))
        for minutes in (0, 30, 60):
            now = DUE + timedelta(minutes=minutes)
            assert start_due(now) == [policy]
            assert policies.retry_in_a_minute(policy, DUE, now=now)
            assert not policies.retry_in_a_minute(policy, DUE, now=now), "it is due again already"
        assert {due_at for _, _, due_at in queued} == {DUE.isoformat()}
        start_due(now)
        assert not policies.retry_in_a_minute(policy, DUE, now=now + timedelta(minutes=1))
        CleanupPolicy.objects.update(is_enabled=False)
        assert not policies.retry_in_a_minute(policy, DUE, now=DUE)

    def test_another_time_zone_changes_the_next_run(self, policy: CleanupPolicy, settings: Any) -> None:
        start_due(DUE - timedelta(hours=1))
        settings.TIME_ZONE = "Asia/Kolkata"
        assert policies.plan_next_runs(DUE - timedelta(minutes=30)) == 1
        policy.refresh_from_db()
        assert policy.next_run_at == datetime(2026, 11, 22, 20, 30, tzinfo=UTC)

    def test_disabled_and_manual_policies_are_never_due(self, queued: Queued) -> None:
        CleanupPolicy.objects.update(is_enabled=False, next_run_at=DUE)
        make_policy("Manual", is_enabled=True, next_run_at=DUE)
        assert start_due(DUE + timedelta(hours=1)) == []
