"""Policies at work: when each is due, what a sweep of it takes and would take, and who changed it.

A sweep takes the steps of a policy in order, each as a run of its own. Policy, due instant and step
name a run once, by a constraint of the database: so a sweep can be started twice, delivered again or
killed anywhere, and each step is still planned once and taken once.
"""

from sessions_app.policies.changes import (
    differences,
    fingerprint_of,
    record_change,
    snapshot_of,
)
from sessions_app.policies.previews import Preview, StepPreview, preview
from sessions_app.policies.schedule import (
    describe_schedule,
    next_run,
    plan_next_runs,
    postpone,
    retry_in_a_minute,
    start_due,
    validate_schedule,
)
from sessions_app.policies.sweeps import SweepResult, conditions_hold, has_policy_changed, sweep

__all__ = [
    "Preview",
    "StepPreview",
    "SweepResult",
    "conditions_hold",
    "describe_schedule",
    "differences",
    "fingerprint_of",
    "has_policy_changed",
    "next_run",
    "plan_next_runs",
    "postpone",
    "preview",
    "record_change",
    "retry_in_a_minute",
    "snapshot_of",
    "start_due",
    "sweep",
    "validate_schedule",
]
