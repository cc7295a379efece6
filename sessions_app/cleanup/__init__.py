"""Plans, runs and undoes cleanups, and empties the archive: the only code that deletes sessions.

Nothing is deleted that is not archived: each batch moves its rows to the archive in one short
transaction, which deletes on one side what arrived on the other; an undo goes the same way back. So a
session is live or archived whenever the process dies, never both and never neither, and the work goes
on where it stopped. A run takes what matched its plan and was not written since; anything else
stays. Emptying the archive is the one step that cannot be undone.
"""

from sessions_app.cleanup.archive import empty_archive
from sessions_app.cleanup.brakes import (
    approve_cleanup,
    close_cleanup,
    hold,
    hold_again,
    needs_number,
    scope_totals,
    weigh,
    why_to_hold,
    why_to_hold_unasked,
)
from sessions_app.cleanup.claims import (
    CleanupHeld,
    CleanupInProgress,
    CleanupRefused,
    PlanOutdated,
    abandoned_sweeps,
    drop_old_plans,
    mark_dead_runs,
    why_busy,
)
from sessions_app.cleanup.files import write_owed_files
from sessions_app.cleanup.plans import is_taken, make_again, matching, plan_cleanup
from sessions_app.cleanup.runs import run_cleanup, summary
from sessions_app.cleanup.undo import CannotUndo, restore_sessions, undo_cleanup

__all__ = [
    "CannotUndo",
    "CleanupHeld",
    "CleanupInProgress",
    "CleanupRefused",
    "PlanOutdated",
    "abandoned_sweeps",
    "approve_cleanup",
    "close_cleanup",
    "drop_old_plans",
    "empty_archive",
    "hold",
    "hold_again",
    "is_taken",
    "make_again",
    "mark_dead_runs",
    "matching",
    "needs_number",
    "plan_cleanup",
    "restore_sessions",
    "run_cleanup",
    "scope_totals",
    "summary",
    "undo_cleanup",
    "weigh",
    "why_busy",
    "why_to_hold",
    "why_to_hold_unasked",
    "write_owed_files",
]
