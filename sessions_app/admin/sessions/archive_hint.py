"""A hint about sessions in the archive that match a search of the list."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse

from sessions_app.admin.archive.changelist import find_archived
from sessions_app.admin.changelist import READ_BOUND
from sessions_app.models import ArchivedSession
from sessions_app.session.selection import Selection


class ArchiveHint(NamedTuple):
    """A link to matching sessions in the archive."""

    text: str
    url: str


def find_removed(user: Any, selection: Selection) -> ArchiveHint | None:
    """Return the hint for a search, or None if no archived session matches.

    The other filters describe live sessions, so only the namespace applies.
    """
    if not selection.text or not user.has_perm("sessions_app.view_archivedsession"):
        return None
    rows = ArchivedSession.objects.order_by("-removed_at", "-pk")
    conditions = [Q(namespace=selection.namespace)] if selection.namespace else []
    found = find_archived(user, rows, conditions, selection.text, bound=READ_BOUND)
    if found.is_whole and not found.ids:
        return None
    text = f"{found.count_text} more in the archive" if found.ids else "Search the archive too"
    query = {"q": selection.text} | ({"namespace": selection.namespace} if selection.namespace else {})
    return ArchiveHint(text, f"{reverse('admin:sessions_app_archivedsession_changelist')}?{urlencode(query)}")
