"""Pins and unpins sessions that are selected in the list, and the session of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from sessions_app.admin.base import ReadOnlyAdmin
from sessions_app.admin.sessions.changelist import TooManySelected, selected_ids
from sessions_app.admin.sessions.history import PINNED, UNPINNED
from sessions_app.models import BrowserSession
from sessions_app.session.selection import InvalidSelection
from sessions_app.text import count_of, were
from sessions_app.transactions import retried_when_busy

CHUNK_SIZE = 500
"""Maximum sessions whose pins change in one transaction."""


class BulkPins(ReadOnlyAdmin):
    """The list actions that pin and unpin."""

    @admin.action(description="Pin", permissions=["pin"])
    def pin_selected(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> None:
        self._set_pins(request, queryset, is_pinned=True)

    @admin.action(description="Unpin", permissions=["pin"])
    def unpin_selected(self, request: HttpRequest, queryset: QuerySet[BrowserSession]) -> None:
        self._set_pins(request, queryset, is_pinned=False)

    def _set_pins(self, request: HttpRequest, queryset: QuerySet[BrowserSession], *, is_pinned: bool) -> None:
        verb = "pinned" if is_pinned else "unpinned"
        try:
            ids = selected_ids(request, queryset)
        except (InvalidSelection, TooManySelected) as reason:
            self.message_user(request, f"Nothing was {verb}: {reason}", messages.ERROR)
            return
        changed = set_pins(request.user, ids, is_pinned=is_pinned)
        text = f"{count_of(changed, 'session')} {were(changed)} {verb}."
        if unchanged := len(ids) - changed:
            text += f" {unchanged:,} {were(unchanged)} already {verb}."
        self.message_user(request, text, messages.SUCCESS)


def set_pins(user: Any, ids: Sequence[int], *, is_pinned: bool) -> int:
    """Pin or unpin sessions, and log each change in the history of the session.

    Each chunk is a separate transaction, so that other writers wait only briefly.

    Returns: The number of sessions whose pin changed.
    """
    chunks = (ids[start : start + CHUNK_SIZE] for start in range(0, len(ids), CHUNK_SIZE))
    return sum(_set_chunk(user, chunk, is_pinned=is_pinned) for chunk in chunks)


@retried_when_busy
def _set_chunk(user: Any, ids: Sequence[int], *, is_pinned: bool) -> int:
    with transaction.atomic():
        others = BrowserSession.objects.filter(pk__in=ids, is_pinned=not is_pinned)
        changed = list(others.order_by("pk").select_for_update().only("namespace", "name", "is_pinned"))
        # update() sets updated_at, so that existing plans skip the sessions.
        BrowserSession.objects.filter(pk__in=[session.pk for session in changed]).update(is_pinned=is_pinned)
        if changed:
            message = PINNED if is_pinned else UNPINNED
            LogEntry.objects.log_actions(user.pk, changed, CHANGE, change_message=message)
    return len(changed)
