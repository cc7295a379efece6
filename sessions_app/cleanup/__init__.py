"""Plans, runs and undoes cleanups, and empties the archive: the only code that deletes sessions.

A session is one row for life. Each batch marks its rows as removed in one short transaction, and an undo
clears the marks. So a session is either live or archived, never both and never neither. A killed run can be
resumed. A run removes the sessions that matched its plan and have not changed since. Emptying the archive is
the only step that cannot be undone.
"""

from sessions_app.cleanup.archive import count_kept_pins, empty_archive
from sessions_app.cleanup.claims import (
    CleanupHeld,
    CleanupInProgress,
    CleanupRefused,
    PlanOutdated,
    abandoned_sweeps,
    busy_reason,
    drop_old_plans,
    interrupt_if_stalled,
    mark_stalled_runs,
)
from sessions_app.cleanup.left_out import LEFT_OUT_LIMIT, include_again, leave_out, left_out_digest
from sessions_app.cleanup.limits import (
    approve_cleanup,
    close_cleanup,
    hold,
    hold_again,
    hold_reason,
    measure_scope,
    requires_confirmation,
    scope_totals,
    unattended_hold_reason,
)
from sessions_app.cleanup.missing_files import (
    RestoredFiles,
    UnwrittenFiles,
    describe_access,
    restore_missing_files,
    sessions_missing_files,
    sessions_missing_files_of,
    unwritten_files,
)
from sessions_app.cleanup.newest import beyond_now
from sessions_app.cleanup.pins import pinned_files, was_pinned
from sessions_app.cleanup.plans import (
    discard_plan,
    is_preview,
    matching,
    plan_cleanup,
    planned_condition,
    replan,
    without_unswept,
)
from sessions_app.cleanup.runs import run_cleanup, summary
from sessions_app.cleanup.undo import CannotUndo, restore_sessions, undo_cleanup

__all__ = [
    "LEFT_OUT_LIMIT",
    "CannotUndo",
    "CleanupHeld",
    "CleanupInProgress",
    "CleanupRefused",
    "PlanOutdated",
    "RestoredFiles",
    "UnwrittenFiles",
    "abandoned_sweeps",
    "approve_cleanup",
    "beyond_now",
    "busy_reason",
    "close_cleanup",
    "count_kept_pins",
    "describe_access",
    "discard_plan",
    "drop_old_plans",
    "empty_archive",
    "hold",
    "hold_again",
    "hold_reason",
    "include_again",
    "interrupt_if_stalled",
    "is_preview",
    "leave_out",
    "left_out_digest",
    "mark_stalled_runs",
    "matching",
    "measure_scope",
    "pinned_files",
    "plan_cleanup",
    "planned_condition",
    "replan",
    "requires_confirmation",
    "restore_missing_files",
    "restore_sessions",
    "run_cleanup",
    "scope_totals",
    "sessions_missing_files",
    "sessions_missing_files_of",
    "summary",
    "unattended_hold_reason",
    "undo_cleanup",
    "unwritten_files",
    "was_pinned",
    "without_unswept",
]
