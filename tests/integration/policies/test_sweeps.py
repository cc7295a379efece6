"""Sweeps of policies: removed sessions, conditions and log."""

from __future__ import annotations

import logging
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from sessions_app import policies
from sessions_app.models import BrowserSession, CleanupPolicy, CleanupRun, CleanupStep
from sessions_app.policies import conditions_hold
from tests.factories import (
    DUE,
    aged,
    archived,
    live,
    make_policy,
    make_session,
    make_sessions,
    run_rows,
    run_sweep,
)

pytestmark = pytest.mark.django_db
State = CleanupRun.State


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
        run_sweep(preset(name))
        assert live() == left

    @pytest.mark.usefixtures("mixed")
    def test_over_fifty_sessions_those_older_than_three_days_are_removed(self) -> None:
        policy = preset("Conditional")
        make_sessions(45, **aged(0))
        assert run_sweep(policy).runs == []
        make_session("one-more", **aged(0))
        run_sweep(policy, DUE + timedelta(hours=1))
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
    def test_a_size_limit_runs_further_steps_until_the_size_is_below_it(
        self, limit_in_sessions: int, gone: list[str]
    ) -> None:
        policy = preset("Size limit")
        largest = max(BrowserSession.objects.values_list("size_bytes", flat=True))
        policy.over_bytes = largest * limit_in_sessions
        BrowserSession.objects.update(size_bytes=largest)
        found = policies.preview(policy)
        result = run_sweep(policy)
        assert archived() == gone
        assert len(result.runs) == sum(line.is_reached for line in found.steps)
        assert found.session_count == len(gone)


def preset(name: str) -> CleanupPolicy:
    """Return a policy that the migration installs; recreate it, because tests flush the database."""
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

    def test_a_policy_without_conditions_needs_no_query(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            assert conditions_hold(CleanupPolicy())

    def test_only_the_namespace_counts(self) -> None:
        make_sessions(3, namespace="shop")
        assert conditions_hold(CleanupPolicy(over_count=2, namespace="shop"))
        assert not conditions_hold(CleanupPolicy(over_count=2, namespace="other"))

    @pytest.mark.usefixtures("mixed")
    def test_are_checked_again_before_each_step(self) -> None:
        policy = make_policy("Tidy", "invalid", ("expired", 7), ("expired", 1), over_count=2)
        result = run_sweep(policy)
        assert run_rows() == [(1, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2)]
        assert result.stop_reason
        assert result.has_ended
        assert live() == ["days-02", "fresh"]


class TestLog:
    @pytest.fixture(autouse=True)
    def info(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

    @pytest.mark.usefixtures("mixed")
    def test_has_the_summary_of_the_guide_once(self, caplog: pytest.LogCaptureFixture) -> None:
        policy = make_policy("Nightly", ("expired", 7), "invalid")
        run_sweep(policy)
        run_sweep(policy)
        lines = [message for message in caplog.messages if "Automatic" in message]
        assert lines == ["“Nightly”: Automatic cleanup complete: 2 expired, 1 invalid sessions removed"]

    @pytest.mark.usefixtures("mixed")
    @pytest.mark.parametrize(
        ("steps", "summary"),
        [
            (("all",), "5 sessions removed"),
            (("invalid", "all"), "0 expired, 1 invalid sessions removed; with its other steps, 5 sessions"),
        ],
    )
    def test_has_the_number_of_all_removed_sessions(
        self, caplog: pytest.LogCaptureFixture, steps: tuple[str, ...], summary: str
    ) -> None:
        run_sweep(make_policy("Everything", *steps))
        assert f"“Everything”: Automatic cleanup complete: {summary}" in caplog.text

    @pytest.mark.usefixtures("mixed")
    def test_has_no_summary_for_a_sweep_that_needs_approval(self, caplog: pytest.LogCaptureFixture) -> None:
        run_sweep(make_policy("Nightly", ("expired", 7), brake_count=0))
        assert not any("Automatic" in message for message in caplog.messages)
        assert any("needs approval. This would" in message for message in caplog.messages)


def test_a_change_lists_the_fields_that_differ() -> None:
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
