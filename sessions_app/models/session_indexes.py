"""The indexes of sessions. Those of live and of removed sessions are partial."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from sessions_app.session.lookups import ByteOrder

_FILE_MISSING = Q(directory__isnull=False, file_changed_ns__isnull=True)
_REMOVED = Q(run__isnull=False)


def _live(name: str, *columns: Any, condition: Q | None = None) -> models.Index:
    """Return an index of the live sessions."""
    condition = (condition or Q()) & Q(run__isnull=True)
    if all(isinstance(column, str) for column in columns):
        return models.Index(fields=(*columns, "run"), condition=condition, name=name)
    return models.Index(*columns, "run", condition=condition, name=name)


# The list scans many index entries without reading the table. So each index in its default order also
# contains the columns of its other filters, and the size. SQLite reads the column of an index's own
# condition from the table unless the index contains it, so each ends with the run.
SESSION_INDEXES = (
    # The default order of the list; expired(cutoff); filters by age.
    _live("session_idle", "idle_since", "id", "problems", "is_pinned", "size_bytes"),
    # invalid(); the number of sessions with each problem.
    _live(
        "session_invalid",
        "idle_since",
        "id",
        "problems",
        "is_pinned",
        "namespace",
        "browser_type",
        "size_bytes",
        condition=Q(problems__gt=0),
    ),
    # The list and cleanups of a namespace.
    _live(
        "session_namespace_idle",
        "namespace",
        "idle_since",
        "id",
        "problems",
        "is_pinned",
        "browser_type",
        "size_bytes",
    ),
    # The list filtered or sorted by browser type.
    _live(
        "session_browser_idle",
        "browser_type",
        "idle_since",
        "id",
        "problems",
        "is_pinned",
        "size_bytes",
    ),
    # The largest sessions; the list by size.
    _live("session_size", "size_bytes", "id"),
    # The list by name, and the search for the beginning of a name.
    _live("session_name", ByteOrder("name"), "id"),
    # The known files of a directory, for its sync.
    models.Index(
        fields=("directory",),
        condition=Q(directory__isnull=False, run__isnull=True),
        name="session_directory",
    ),
    # The restored sessions of a folder or of a run whose files have not been written yet.
    _live("session_owed", "directory", "id", condition=_FILE_MISSING),
    _live("session_owed_by_run", "restored_from", "directory", condition=_FILE_MISSING),
    # Sessions in use, which scheduled cleanups leave alone.
    _live("session_in_use", "in_use_at", condition=Q(in_use_at__isnull=False)),
    # The list by state of the browser; the live browsers of a plan.
    _live(
        "session_browser_state",
        "browser_state",
        "idle_since",
        "id",
        "problems",
        "is_pinned",
        "size_bytes",
        condition=Q(browser_state__isnull=False),
    ),
    # Pinned sessions and their number.
    _live(
        "session_pinned",
        "idle_since",
        "id",
        "problems",
        "namespace",
        "browser_type",
        "size_bytes",
        condition=Q(is_pinned=True),
    ),
    # The removed sessions of a run, in pages.
    models.Index(fields=("run", "id"), condition=_REMOVED, name="archived_run"),
    # The archive's list.
    models.Index(fields=("removed_at", "id", "run"), condition=_REMOVED, name="archived_removed"),
    # The search for the beginning of a removed session's name.
    models.Index(ByteOrder("name"), "id", "run", condition=_REMOVED, name="archived_name"),
    # The files that a killed cleanup left behind, for the sync.
    models.Index(
        fields=("directory", "file_name"),
        condition=_REMOVED & Q(directory__isnull=False),
        name="archived_file",
    ),
)
