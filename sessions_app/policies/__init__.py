"""Policies: when each is due, what its sweeps remove or would remove, and who changed it.

A sweep runs the steps of a policy in order, each as its own run. A database constraint makes the policy, the
due instant and the step of a run unique. A sweep can therefore be started twice, delivered again or killed at
any point, and each step is still planned and run only once.
"""

from sessions_app.policies.changes import (
    differences,
    fingerprint_of,
    record_change,
    snapshot_of,
)
from sessions_app.policies.previews import Preview, StepPreview, preview, preview_unsaved
from sessions_app.policies.schedule import (
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
    "differences",
    "fingerprint_of",
    "has_policy_changed",
    "next_run",
    "plan_next_runs",
    "postpone",
    "preview",
    "preview_unsaved",
    "record_change",
    "retry_in_a_minute",
    "snapshot_of",
    "start_due",
    "sweep",
    "validate_schedule",
]
