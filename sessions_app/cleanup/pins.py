"""Keeps the pins of sessions whose files are gone in the archive until the files are restored.

Only the newest archived session of a file counts. An older pin is not restored if a person has unpinned or
removed the session since.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q, QuerySet

from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.session.files import SUFFIX


def holds_pin() -> Q:
    """Return the condition for archived sessions that are kept for their pins when the archive is emptied."""
    same_file = {"directory": OuterRef("directory"), "file_name": OuterRef("file_name")}
    # The name and the namespace make use of the index of names.
    restored = BrowserSession.objects.filter(
        namespace=OuterRef("namespace"), name=OuterRef("name"), directory=OuterRef("directory")
    )
    newer = ArchivedSession.objects.filter(**same_file, removed_at__gt=OuterRef("removed_at"))
    return Q(is_pinned=True, has_vanished=True) & ~Exists(restored) & ~Exists(newer)


def pinned_files(directory: SessionDirectory, file_names: Iterable[str]) -> set[str]:
    """Return the files whose sessions were pinned when the files vanished."""
    archived = ArchivedSession.objects.filter(directory=directory)
    pinned = archived.filter(has_vanished=True, is_pinned=True)
    if not pinned.exists():
        return set()
    candidates = set(pinned.values_list("file_name", flat=True)).intersection(file_names)
    return _still_pinned(archived.filter(file_name__in=candidates)) if candidates else set()


def was_pinned(namespace: str, name: str, directory: SessionDirectory | None) -> bool:
    """Check whether a session of this name was pinned when its file vanished from a folder."""
    archived = ArchivedSession.objects.filter(file_name=name + SUFFIX)
    if directory is not None:
        return bool(_still_pinned(archived.filter(directory=directory)))
    # The index of files begins with the id of the directory.
    directories = list(SessionDirectory.objects.filter(namespace=namespace).values_list("pk", flat=True))
    return bool(directories and _still_pinned(archived.filter(directory__in=directories)))


def _still_pinned(archived: QuerySet[ArchivedSession]) -> set[str]:
    newest = archived.order_by("removed_at", "pk").values_list("file_name", "has_vanished", "is_pinned")
    pins = {file_name: has_vanished and is_pinned for file_name, has_vanished, is_pinned in newest}
    return {file_name for file_name, is_pinned in pins.items() if is_pinned}
