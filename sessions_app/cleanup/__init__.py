"""Plans, runs and undoes cleanups, and empties the archive: the only code that deletes sessions.

Nothing is deleted that is not archived: each batch moves its rows to the archive in one short
transaction, which deletes on one side what arrived on the other; an undo goes the same way back. So a
session is live or archived whenever the process dies, never both and never neither, and the work goes
on where it stopped. A run takes what matched its plan and was not written since; anything else
stays. Emptying the archive is the one step that cannot be undone.
"""

from sessions_app.cleanup.archive import count_kept_pins, empty_archive
from sessions_app.cleanup.limits import (
    approve_cleanup,
    close_cleanup,
    hold,
    hold_again,
    requires_confirmation,
    scope_totals,
    measure_scope,
    hold_reason,
    unattended_hold_reason,
)
from sessions_app.cleanup.claims import (
    CleanupHeld,
    CleanupInProgress,
    CleanupRefused,
    PlanOutdated,
    abandoned_sweeps,
    drop_old_plans,
    interrupt_if_stalled,
    mark_stalled_runs,
    busy_reason,
)
from sessions_app.cleanup.missing_files import (
    RestoredFiles,
    UnwrittenFiles,
    describe_access,
    sessions_missing_files,
    sessions_missing_files_of,
    unwritten_files,
    restore_missing_files,
)
from sessions_app.cleanup.pins import pinned_files, was_pinned
from sessions_app.cleanup.plans import planned_condition, replan, matching, plan_cleanup, without_unswept
from sessions_app.cleanup.runs import run_cleanup, summary
from sessions_app.cleanup.undo import CannotUndo, restore_sessions, undo_cleanup

__all__ = [
    "CannotUndo",
    "CleanupHeld",
    "CleanupInProgress",
    "CleanupRefused",
    "RestoredFiles",
    "PlanOutdated",
    "UnwrittenFiles",
    "abandoned_sweeps",
    "approve_cleanup",
    "close_cleanup",
    "count_kept_pins",
    "describe_access",
    "drop_old_plans",
    "empty_archive",
    "hold",
    "hold_again",
    "interrupt_if_stalled",
    "planned_condition",
    "replan",
    "mark_stalled_runs",
    "matching",
    "requires_confirmation",
    "sessions_missing_files",
    "pinned_files",
    "plan_cleanup",
    "restore_sessions",
    "run_cleanup",
    "scope_totals",
    "sessions_missing_files_of",
    "summary",
    "undo_cleanup",
    "unwritten_files",
    "was_pinned",
    "measure_scope",
    "busy_reason",
    "hold_reason",
    "unattended_hold_reason",
    "without_unswept",
    "restore_missing_files",
]
