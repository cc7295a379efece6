"""Pins of sessions whose files are gone: each waits in the archive until its file is back.

The newest archived session of a file decides. An older pin does not come back when a person unpinned
the session, or removed it, in between.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q, QuerySet

from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.session.files import SUFFIX


def holds_pin() -> Q:
    """The archived sessions that are kept for their pins when the archive is emptied."""
    same_file = {"directory": OuterRef("directory"), "file_name": OuterRef("file_name")}
    # A name and its namespace are looked up in the index of names.
    back = BrowserSession.objects.filter(
        namespace=OuterRef("namespace"), name=OuterRef("name"), directory=OuterRef("directory")
    )
    newer = ArchivedSession.objects.filter(**same_file, removed_at__gt=OuterRef("removed_at"))
    return Q(is_pinned=True, has_vanished=True) & ~Exists(back) & ~Exists(newer)


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
    # By the ids of the directories, for the index of files begins with them.
    directories = list(SessionDirectory.objects.filter(namespace=namespace).values_list("pk", flat=True))
    return bool(directories and _still_pinned(archived.filter(directory__in=directories)))


def _still_pinned(archived: QuerySet[ArchivedSession]) -> set[str]:
    newest = archived.order_by("removed_at", "pk").values_list("file_name", "has_vanished", "is_pinned")
    pins = {file_name: has_vanished and is_pinned for file_name, has_vanished, is_pinned in newest}
    return {file_name for file_name, is_pinned in pins.items() if is_pinned}
