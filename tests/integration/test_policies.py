"""Policies at work: when they are due, what a sweep takes, and what stops it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connections

from sessions_app import cleanup, policies, tasks
from sessions_app.deadline import Deadline
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, CleanupStep
from sessions_app.models.clock import database_now
from sessions_app.policies import conditions_hold, next_run, start_due, sweep, sweeps, validate_schedule
from tests.integration.faults import Died, Faulty
from tests.integration.policies import make_policy
from tests.integration.sessions import archived, live, make_session, make_sessions

pytestmark = pytest.mark.django_db
State = CleanupRun.State
DUE = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
NEVER: dict[str, Any] = {"session_id": ""}


def aged(days: float) -> dict[str, Any]:
    return {"last_accessed": (datetime.now(UTC) - timedelta(days=days)).isoformat()}


def take(policy: CleanupPolicy, due_at: datetime = DUE, **options: Any) -> policies.SweepResult:
    return sweep(policy, due_at=due_at, trigger="schedule", actor=policy.name, **options)


def ledger() -> list[tuple[Any, ...]]:
    rows = CleanupRun.objects.order_by("pk").values_list("step_position", "state", "removed_count")
    return list(rows)


@pytest.fixture
def mixed() -> None:
    """A fresh session, one of 2 days, one of 8, one of 31, and a fresh one that is invalid."""
    make_session("fresh", **aged(0))
    make_session("invalid", **aged(0), **NEVER)
    for days in (2, 8, 31):
        make_session(f"days-{days:02}", **aged(days))


class TestStrategiesOfTheGuide:
    @pytest.mark.usefixtures("mixed")
    @pytest.mark.parametrize(
        ("name", "left"),
        [
            ("Nightly sweep", ["days-02", "fresh"]),
            ("Production", ["days-02", "days-08", "fresh"]),
            ("Development", ["fresh"]),
            ("Size limit", ["days-02", "days-08", "days-31", "fresh", "invalid"]),
            ("Conditional", ["days-02", "days-08", "days-31", "fresh", "invalid"]),
            ("CI", []),
        ],
    )
    def test_each_preset_does_what_the_guide_says(self, name: str, left: list[str]) -> None:
        take(preset(name))
        assert live() == left

    @pytest.mark.usefixtures("mixed")
    def test_over_fifty_sessions_those_of_three_days_go(self) -> None:
        policy = preset("Conditional")
        make_sessions(45, **aged(0))
        assert take(policy).runs == []
        make_session("one-more", **aged(0))
        take(policy, DUE + timedelta(hours=1))
        assert archived() == ["days-08", "days-31"]

    @pytest.mark.usefixtures("mixed")
    @pytest.mark.parametrize(
        ("limit_in_sessions", "gone"),
        [
            (5, []),
            (4, ["invalid"]),
            (2, ["days-08", "days-31", "invalid"]),
            (1, ["days-02", "days-08", "days-31", "invalid"]),
        ],
    )
    def test_a_size_limit_grows_harsher_and_stops_when_under(
        self, limit_in_sessions: int, gone: list[str]
    ) -> None:
        policy = preset("Size limit")
        largest = max(BrowserSession.objects.values_list("size_bytes", flat=True))
        policy.over_bytes = largest * limit_in_sessions
        BrowserSession.objects.update(size_bytes=largest)
        found = policies.preview(policy)
        result = take(policy)
        assert archived() == gone
        assert len(result.runs) == sum(line.is_reached for line in found.steps)
        assert found.session_count == len(gone)


def preset(name: str) -> CleanupPolicy:
    """One of those that the migration installs, made again where a test has flushed the database."""
    presets = import_module("sessions_app.migrations.0003_presets").PRESETS
    wanted = next(preset for preset in presets if preset["name"] == name)
    fields = {key: value for key, value in wanted.items() if key not in ("name", "steps")}
    steps = [criterion if age is None else (criterion, age) for criterion, age in wanted["steps"]]
    return make_policy(name, *steps, brake_percent=50, **fields)


class TestConditions:
    def test_both_must_hold(self) -> None:
        make_sessions(3)
        size = sum(BrowserSession.objects.values_list("size_bytes", flat=True))
        for over_count, over_bytes, holds in (
            (2, size - 1, True),
            (3, size - 1, False),
            (2, size, False),
            (None, size - 1, True),
            (2, None, True),
        ):
            assert conditions_hold(CleanupPolicy(over_count=over_count, over_bytes=over_bytes)) is holds

    def test_nothing_is_asked_where_none_is_set(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            assert conditions_hold(CleanupPolicy())

    def test_only_the_namespace_counts(self) -> None:
        make_sessions(3, namespace="shop")
        assert conditions_hold(CleanupPolicy(over_count=2, namespace="shop"))
        assert not conditions_hold(CleanupPolicy(over_count=2, namespace="other"))

    @pytest.mark.usefixtures("mixed")
    def test_are_asked_again_before_each_step(self) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7), ("expired", 1), over_count=2)
        result = take(policy)
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2)]
        assert result.stopped_because
        assert result.has_ended
        assert live() == ["days-02", "fresh"]


@pytest.mark.usefixtures("mixed")
class TestBrakes:
    @pytest.fixture
    def policy(self) -> CleanupPolicy:
        return make_policy("Tidy", "invalid", ("expired", 7), ("expired", 1), brake_count=2)

    def held(self) -> CleanupRun:
        return CleanupRun.objects.get(state=State.HELD)

    def test_hold_by_what_all_steps_have_taken(self, policy: CleanupPolicy) -> None:
        result = take(policy)
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.HELD, 0)]
        assert result.held == self.held()
        assert self.held().held_because == "It would take 3 sessions; the brake is at 2."
        assert len(live()) == 4

    def test_let_a_held_sweep_wait_however_often_it_is_delivered(self, policy: CleanupPolicy) -> None:
        take(policy)
        take(policy)
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.HELD, 0)]

    def test_approved_the_sweep_goes_on_with_the_rest(self, policy: CleanupPolicy) -> None:
        take(policy)
        cleanup.approve_cleanup(self.held(), actor="root")
        CleanupPolicy.objects.update(brake_count=4)
        told = tasks.continue_cleanup(CleanupRun.objects.get(step_position=2).pk)
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2), (3, State.SUCCEEDED, 1)]
        assert live() == ["fresh"]
        assert "1 of 1 sessions removed" in told

    def test_an_approval_is_of_one_step_and_the_next_is_weighed_anew(self, policy: CleanupPolicy) -> None:
        take(policy)
        cleanup.approve_cleanup(self.held(), actor="root")
        tasks.run_planned(CleanupRun.objects.get(step_position=2).pk, "admin", "root")
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2), (3, State.HELD, 0)]

    def test_dismissed_the_sweep_stops(self, policy: CleanupPolicy) -> None:
        take(policy)
        cleanup.close_cleanup(self.held(), actor="root")
        result = take(policy)
        assert not result.has_ended
        assert "was closed, and the sweep with it" in result.describe()
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.CLOSED, 0)]

    def test_a_later_sweep_takes_the_place_of_a_held_plan(self, policy: CleanupPolicy) -> None:
        take(policy)
        first = self.held()
        take(policy, DUE + timedelta(days=1))
        first.refresh_from_db()
        assert (first.state, first.error) == (State.CLOSED, "A later sweep of the policy took its place.")
        assert self.held().due_at == DUE + timedelta(days=1)
        # The earlier one, delivered late, leaves the later one alone.
        take(policy)
        assert self.held().due_at == DUE + timedelta(days=1)

    def test_a_plan_whose_worker_died_before_it_was_weighed_is_weighed(self, policy: CleanupPolicy) -> None:
        step = policy.steps.get(position=2)
        take(make_policy("Other", "invalid"))
        criteria = step.criteria(max_age_days=7)
        cleanup.plan_cleanup(criteria, trigger="schedule", step=step, due_at=DUE)
        CleanupPolicy.objects.update(brake_count=1)
        policy.refresh_from_db()
        take(policy)
        assert CleanupRun.objects.get(policy=policy, step_position=2).state == State.HELD

    def test_the_preview_tells_which_brake_it_would_meet(
        self, policy: CleanupPolicy, django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(4):
            found = policies.preview(policy)
        assert [(line.session_count, line.is_reached) for line in found.steps] == [
            (1, True),
            (2, True),
            (1, False),
        ]
        assert [line.held_because for line in found.steps] == [
            "",
            "It would take 3 sessions; the brake is at 2.",
            "",
        ]
        assert not CleanupRun.objects.exists()

    def test_the_preview_of_all_counts_the_pinned_ones(self) -> None:
        make_session("dear", is_pinned=True, **aged(0))
        (line,) = policies.preview(make_policy("Everything", "all")).steps
        assert (line.session_count, line.pinned_count) == (6, 1)


@pytest.mark.usefixtures("mixed")
class TestDeliveredTwice:
    def test_a_doubled_task_is_one_run_and_one_count(self) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        take(policy)
        before = list(CleanupRun.objects.order_by("pk").values())
        make_session("worse", **aged(0), **NEVER)
        result = take(policy)
        assert list(CleanupRun.objects.order_by("pk").values()) == before
        assert (result.removed_count("expired"), result.removed_count("invalid")) == (2, 1)
        assert "worse" in live()

    def test_a_step_that_was_undone_is_not_taken_again(self) -> None:
        policy = make_policy("Tidy", "invalid")
        (run,) = take(policy).runs
        cleanup.undo_cleanup(run, actor="root")
        take(policy)
        assert ledger() == [(1, State.UNDONE, 1)]
        assert "invalid" in live()

    @pytest.mark.parametrize("is_after", [False, True])
    def test_a_sweep_goes_on_wherever_its_worker_was_killed(self, is_after: bool) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        number = 0
        while True:
            number += 1
            due_at = DUE + timedelta(minutes=number)
            kill = Faulty(number, is_after=is_after)
            try:
                with kill:
                    take(policy, due_at)
            except Died:
                pass
            if not kill.has_failed:
                break
            cleanup.mark_dead_runs(as_of=database_now() + timedelta(hours=1))
            take(policy, due_at)
            runs = CleanupRun.objects.filter(due_at=due_at).order_by("step_position")
            assert [(run.state, run.removed_count) for run in runs] == [
                (State.SUCCEEDED, 1),
                (State.SUCCEEDED, 2),
            ], f"killed at statement {number}"
            for run in runs:
                cleanup.undo_cleanup(run)
            assert len(live()) == 5
        assert number > 20

    def test_a_sweep_stopped_by_its_deadline_goes_on(self) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        result = take(policy, deadline=Deadline.after(-1))
        assert (result.is_interrupted, ledger()) == (True, [(1, State.INTERRUPTED, 1)])
        result = take(policy, deadline=Deadline.after(-1))
        assert (result.is_interrupted, len(result.runs)) == (True, 1)
        assert not take(policy).is_interrupted
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2)]

    def test_a_plan_of_a_sweep_that_nobody_ran_is_closed_and_not_planned_again(self) -> None:
        policy = make_policy("Tidy", "invalid", brake_count=0)
        take(policy)
        cleanup.approve_cleanup(CleanupRun.objects.get(), actor="root")
        assert cleanup.drop_old_plans(as_of=database_now() + timedelta(hours=25)) == 1
        take(policy)
        assert ledger() == [(1, State.CLOSED, 0)]


class TestByHand:
    @pytest.mark.parametrize("trigger", ["admin", "command"])
    def test_all_waits_for_the_number_where_no_brake_holds_it(self, trigger: str) -> None:
        make_session("dear", is_pinned=True)
        make_sessions(3)
        policy = make_policy("CI", "all", brake_percent=50)
        assert policies.preview(policy, is_by_hand=True).steps[0].held_because
        assert not policies.preview(policy).steps[0].held_because
        result = sweep(policy, due_at=DUE, trigger=trigger)
        assert result.held is not None
        assert result.held.held_because == (
            "Started by hand, it would take 4 of 4 sessions: somebody has to type the number."
        )
        assert len(live()) == 4

    @pytest.mark.usefixtures("mixed")
    def test_less_than_half_goes(self) -> None:
        policy = make_policy("Tidy", "invalid")
        assert sweep(policy, due_at=DUE, trigger="admin").held is None
        assert archived() == ["invalid"]


@pytest.mark.usefixtures("mixed")
class TestChangedMidway:
    def test_a_sweep_stops_and_does_not_take_a_step_for_another(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        policy = make_policy("Tidy", "invalid", ("expired", 7))
        take(policy, deadline=Deadline.after(-1))
        take(policy, deadline=Deadline.after(-1))
        first, second = policy.steps.all()
        CleanupStep.objects.filter(pk=first.pk).update(criterion="expired", max_age_days=7)
        CleanupStep.objects.filter(pk=second.pk).update(criterion="invalid", max_age_days=None)
        result = take(CleanupPolicy.objects.get(pk=policy.pk))
        assert "The policy was changed meanwhile; its next sweep takes the new steps." in result.describe()
        assert not result.has_ended
        assert not any("complete" in message for message in caplog.messages)
        assert ledger() == [(1, State.SUCCEEDED, 1)]
        take(CleanupPolicy.objects.get(pk=policy.pk), DUE + timedelta(days=1))
        assert archived() == ["days-08", "days-31", "invalid"]


class TestLog:
    @pytest.fixture(autouse=True)
    def info(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

    @pytest.mark.usefixtures("mixed")
    def test_has_the_line_of_the_guide_once(self, caplog: pytest.LogCaptureFixture) -> None:
        policy = make_policy("Nightly", ("expired", 7), "invalid")
        take(policy)
        take(policy)
        told = [message for message in caplog.messages if "Automatic" in message]
        assert told == ["“Nightly”: Automatic cleanup complete: 2 expired, 1 invalid sessions removed"]

    @pytest.mark.usefixtures("mixed")
    @pytest.mark.parametrize(
        ("steps", "told"),
        [
            (("all",), "5 sessions removed"),
            (("invalid", "all"), "0 expired, 1 invalid sessions removed; with its other steps, 5 sessions"),
        ],
    )
    def test_tells_all_that_went(
        self, caplog: pytest.LogCaptureFixture, steps: tuple[str, ...], told: str
    ) -> None:
        take(make_policy("Everything", *steps))
        assert f"“Everything”: Automatic cleanup complete: {told}" in caplog.text

    @pytest.mark.usefixtures("mixed")
    def test_has_no_such_line_for_one_that_is_held(self, caplog: pytest.LogCaptureFixture) -> None:
        take(make_policy("Nightly", ("expired", 7), brake_count=0))
        assert not any("Automatic" in message for message in caplog.messages)
        assert any("is held. It would take 2 sessions" in message for message in caplog.messages)


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    """Two processes, each with a connection of its own."""

    @pytest.fixture
    def policy(self) -> CleanupPolicy:
        make_session("invalid", **NEVER)
        make_session("old", **aged(8))
        # By hand, more than half would wait for a number.
        make_sessions(3, **aged(0))
        return make_policy("Nightly", "invalid", ("expired", 7))

    @pytest.fixture
    def at_work(self, policy: CleanupPolicy) -> Iterator[int]:
        """A sweep in another process that waits in the midst of its first run."""
        is_inside, may_end = threading.Event(), threading.Event()

        def wait(sessions: int) -> None:
            is_inside.set()
            may_end.wait(30)

        def work() -> None:
            try:
                take(CleanupPolicy.objects.get(pk=policy.pk), progress=wait)
            finally:
                connections.close_all()

        thread = threading.Thread(target=work)
        thread.start()
        assert is_inside.wait(30)
        yield CleanupRun.objects.get().pk
        may_end.set()
        thread.join(30)
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 1)]

    @pytest.mark.parametrize("due_at", [DUE, DUE + timedelta(days=1)], ids=["the same sweep", "another"])
    def test_a_second_sweep_is_refused(self, policy: CleanupPolicy, at_work: int, due_at: datetime) -> None:
        with pytest.raises(cleanup.CleanupInProgress, match=f"“Nightly” is already running: run {at_work}"):
            take(policy, due_at)
        assert CleanupRun.objects.count() == 1

    def test_the_database_refuses_it_where_nothing_else_does(
        self, policy: CleanupPolicy, at_work: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeps, "_refuse_beside_another", lambda policy: None)
        make_session("worse", **NEVER)
        with pytest.raises(cleanup.CleanupInProgress, match=f"“Nightly” is already running: run {at_work}"):
            take(policy, DUE + timedelta(days=1))
        assert CleanupRun.objects.count() == 1, "the plan of the refused sweep is to go"

    def test_two_workers_that_start_together_take_each_step_once(self, policy: CleanupPolicy) -> None:
        barrier = threading.Barrier(2)
        told: list[str] = []

        def work() -> None:
            try:
                barrier.wait(30)
                told.append(tasks.sweep(policy.pk, DUE.isoformat(), "admin"))
            finally:
                connections.close_all()

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert len(told) == 2
        assert ledger() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 1)]
        assert archived() == ["invalid", "old"]


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


class TestNextRun:
    @pytest.mark.parametrize(
        ("schedule", "after", "expected"),
        [
            ("0 2 * * *", "2026-11-22T01:59:59+01:00", "2026-11-22T02:00:00+01:00"),
            ("0 2 * * *", "2026-11-22T02:00:00+01:00", "2026-11-23T02:00:00+01:00"),
            ("30 6 * * 1-5", "2026-11-20T07:00:00+01:00", "2026-11-23T06:30:00+01:00"),
            # The night without an hour from 02:00 to 03:00.
            ("0 2 * * *", "2026-03-28T02:00:20+01:00", "2026-03-29T03:00:00+02:00"),
            ("30 2 * * *", "2026-03-28T02:30:20+01:00", "2026-03-29T03:00:00+02:00"),
            ("0 2 * * *", "2026-03-29T03:00:20+02:00", "2026-03-30T02:00:00+02:00"),
            # The night in which that hour comes twice: once is enough.
            ("0 2 * * *", "2026-10-24T02:00:20+02:00", "2026-10-25T02:00:00+02:00"),
            ("0 2 * * *", "2026-10-25T02:00:20+02:00", "2026-10-26T02:00:00+01:00"),
            ("30 2 * * *", "2026-10-25T02:30:20+02:00", "2026-10-26T02:30:00+01:00"),
            ("30 2 * * *", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"),
            # What runs each half-hour runs in both.
            ("*/30 * * * *", "2026-10-25T02:30:20+02:00", "2026-10-25T02:00:00+01:00"),
            ("*/30 * * * *", "2026-03-29T01:30:20+01:00", "2026-03-29T03:00:00+02:00"),
        ],
    )
    def test_is_by_the_clock_on_the_wall(
        self, settings: Any, schedule: str, after: str, expected: str
    ) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        policy = CleanupPolicy(schedule=schedule, is_enabled=True)
        assert next_run(policy, after=berlin(after)) == berlin(expected)

    def test_is_daily_over_a_year_of_changing_clocks(self, settings: Any) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        policy = CleanupPolicy(schedule="30 2 * * *", is_enabled=True)
        instant, days = berlin("2026-01-01T12:00:00+01:00"), set()
        for _ in range(365):
            following = next_run(policy, after=instant)
            assert following is not None
            # The dispatcher asks each minute, and a little later than on time.
            assert next_run(policy, after=following - timedelta(minutes=1)) == following
            instant = following + timedelta(seconds=20)
            days.add(following.date())
        assert len(days) == 365

    def test_is_none_without_a_schedule_or_while_disabled(self) -> None:
        assert next_run(CleanupPolicy(is_enabled=True), after=DUE) is None
        assert next_run(CleanupPolicy(schedule="0 2 * * *"), after=DUE) is None

    def test_of_a_schedule_that_nobody_can_read_is_none_and_stops_no_other(
        self, caplog: pytest.LogCaptureFixture, enqueued: list[tuple[Any, ...]]
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
    def test_a_form_refuses_what_cannot_be_read_with_an_example(self, text: str) -> None:
        with pytest.raises(ValidationError, match="“0 2 \\* \\* \\*”"):
            validate_schedule(text)

    @pytest.mark.parametrize(
        "text", ["", "0 2 * * *", "*/5 * * * *", "0 0 1 1 *", "0 0 29 2 *", "0 2 * * MON-FRI"]
    )
    def test_a_form_takes_what_cron_takes(self, text: str) -> None:
        validate_schedule(text)


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sessions_app.policies.timing.async_task", lambda *args: calls.append(args))
    return calls


class TestDue:
    @pytest.fixture(autouse=True)
    def policy(self) -> CleanupPolicy:
        CleanupPolicy.objects.update(is_enabled=False)
        return make_policy("Nightly", schedule="0 2 * * *", is_enabled=True)

    def test_a_new_policy_is_only_told_when_it_is_due(
        self, policy: CleanupPolicy, enqueued: list[tuple[Any, ...]]
    ) -> None:
        assert start_due(DUE - timedelta(hours=1)) == []
        policy.refresh_from_db()
        assert (policy.next_run_at, enqueued) == (DUE, [])

    def test_what_is_due_is_enqueued_once_and_moved_on(
        self, policy: CleanupPolicy, enqueued: list[tuple[Any, ...]]
    ) -> None:
        start_due(DUE - timedelta(hours=1))
        assert start_due(DUE - timedelta(seconds=1)) == []
        assert start_due(DUE + timedelta(seconds=20)) == [policy]
        assert start_due(DUE + timedelta(seconds=80)) == []
        assert enqueued == [("sessions_app.tasks.sweep", policy.pk, DUE.isoformat())]
        policy.refresh_from_db()
        assert policy.next_run_at == DUE + timedelta(days=1)

    def test_a_worker_that_was_off_for_days_sweeps_once(
        self, policy: CleanupPolicy, enqueued: list[tuple[Any, ...]]
    ) -> None:
        start_due(DUE - timedelta(hours=1))
        back = DUE + timedelta(days=3, hours=5)
        policies.plan_next_runs(back)
        assert start_due(back) == [policy]
        assert start_due(back + timedelta(minutes=1)) == []
        assert len(enqueued) == 1

    def test_a_policy_moved_by_somebody_meanwhile_keeps_that(
        self, policy: CleanupPolicy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start_due(DUE - timedelta(hours=1))
        noon = DUE + timedelta(hours=10)

        def save_at_this_moment(*args: Any) -> None:
            CleanupPolicy.objects.filter(pk=policy.pk).update(next_run_at=noon)

        monkeypatch.setattr("sessions_app.policies.timing.async_task", save_at_this_moment)
        start_due(DUE)
        policy.refresh_from_db()
        assert policy.next_run_at == noon

    def test_a_sweep_that_was_refused_is_due_again_for_an_hour(
        self, policy: CleanupPolicy, enqueued: list[tuple[Any, ...]]
    ) -> None:
        start_due(DUE - timedelta(hours=1))
        for minutes in (0, 30, 60):
            now = DUE + timedelta(minutes=minutes)
            assert start_due(now) == [policy]
            assert policies.try_again(policy, DUE, now=now)
            assert not policies.try_again(policy, DUE, now=now), "it is due again already"
        assert {due_at for _, _, due_at in enqueued} == {DUE.isoformat()}
        start_due(now)
        assert not policies.try_again(policy, DUE, now=now + timedelta(minutes=1))
        CleanupPolicy.objects.update(is_enabled=False)
        assert not policies.try_again(policy, DUE, now=DUE)

    def test_another_time_zone_moves_what_is_to_come(self, policy: CleanupPolicy, settings: Any) -> None:
        start_due(DUE - timedelta(hours=1))
        settings.TIME_ZONE = "Asia/Kolkata"
        assert policies.plan_next_runs(DUE - timedelta(minutes=30)) == 1
        policy.refresh_from_db()
        assert policy.next_run_at == datetime(2026, 11, 22, 20, 30, tzinfo=UTC)

    def test_disabled_ones_and_those_by_hand_are_never_due(self, enqueued: list[tuple[Any, ...]]) -> None:
        CleanupPolicy.objects.update(is_enabled=False, next_run_at=DUE)
        make_policy("By hand", is_enabled=True, next_run_at=DUE)
        assert start_due(DUE + timedelta(hours=1)) == []


def test_a_change_is_told_by_the_fields_that_differ() -> None:
    policy = make_policy("Tidy", "invalid")
    before = policies.snapshot_of(policy)
    CleanupStep.objects.create(policy=policy, position=2, criterion="all")
    policy.namespace = "shop"
    after = policies.snapshot_of(policy)
    names = [name for name, _, _ in policies.differences(before, after)]
    assert names == ["namespace", "steps"]
    change = policies.record_change(policy, "changed", "root", before, after)
    change.refresh_from_db()
    assert (change.before_json, change.after_json) == (before, after)
