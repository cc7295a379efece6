"""Plans, runs and undoes cleanups, and empties the archive: the only code that deletes sessions.

Nothing is deleted that is not archived: each batch first copies its rows to the archive and then
deletes what the archive holds of it, in one short transaction; an undo goes the same way back. So a
session is live or archived whenever the process dies, never both and never neither, and the work
goes on where it stopped. A run takes what matched its plan and was not written since; anything else
stays. Emptying the archive is the one step that cannot be undone.
"""

from sessions_app.cleanup.archive import empty_archive
from sessions_app.cleanup.claims import CleanupInProgress, drop_old_plans, mark_dead_runs
from sessions_app.cleanup.files import write_owed_files
from sessions_app.cleanup.plans import matching, plan_cleanup
from sessions_app.cleanup.runs import run_cleanup, summary
from sessions_app.cleanup.undo import CannotUndo, restore_sessions, undo_cleanup

__all__ = [
    "CannotUndo",
    "CleanupInProgress",
    "drop_old_plans",
    "empty_archive",
    "mark_dead_runs",
    "matching",
    "plan_cleanup",
    "restore_sessions",
    "run_cleanup",
    "summary",
    "undo_cleanup",
    "write_owed_files",
]
