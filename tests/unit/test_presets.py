"""Conversion between schedules in parts and cron expressions."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest

from sessions_app.policies.presets import Frequency, Preset, next_instants


@pytest.mark.parametrize(
    ("cron", "preset"),
    [
        ("", Preset(frequency=Frequency.MANUAL)),
        ("0 2 * * *", Preset(frequency=Frequency.DAILY)),
        ("30 6 * * 5", Preset(frequency=Frequency.WEEKLY, at=time(6, 30), weekday=5)),
        ("30 6 15 * *", Preset(frequency=Frequency.MONTHLY, at=time(6, 30), month_day=15)),
    ],
)
def test_a_preset_is_a_cron_expression(cron: str, preset: Preset) -> None:
    assert Preset.from_cron(cron) == preset
    assert preset.to_cron() == cron


def test_both_numbers_for_sunday_are_accepted() -> None:
    assert Preset.from_cron("0 2 * * 7").weekday == Preset.from_cron("0 2 * * 0").weekday == 0


@pytest.mark.parametrize(
    "cron", ["*/5 * * * *", "0 2 1 * 1", "0 2 31 * *", "0 2 0 * *", "61 2 * * *", "0 25 * * *", "0 2 * 1 *"]
)
def test_other_expressions_are_not_presets(cron: str) -> None:
    assert Preset.from_cron(cron).frequency == Frequency.CRON


def test_a_schedule_without_parts_cannot_be_converted() -> None:
    with pytest.raises(ValueError, match="no parts"):
        Preset(frequency=Frequency.CRON).to_cron()


def test_the_next_instants() -> None:
    found = next_instants("0 2 * * 1", after=datetime(2026, 11, 26, tzinfo=UTC))
    assert [f"{at:%Y-%m-%d}" for at in found] == ["2026-11-30", "2026-12-07", "2026-12-14"]
