"""Checks the search index each night, and repairs it."""

from __future__ import annotations

import logging
from typing import NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef

from sessions_app.deadline import Deadline
from sessions_app.models import BrowserSession, SessionSearch
from sessions_app.search import trigrams
from sessions_app.search.filling import index_sessions
from sessions_app.text import count_of
from sessions_app.transactions import retried_when_busy

logger = logging.getLogger(__name__)

DELETED_AT_ONCE = 500


class IndexCheck(NamedTuple):
    """The result of a check of the search index."""

    is_ready: bool
    was_damaged: bool
    added: int
    deleted: int

    def describe(self) -> str:
        if not self.is_ready:
            return "The database cannot index parts of texts, so only recent sessions are searched."
        state = "was damaged and was built again" if self.was_damaged else "is whole"
        return (
            f"The search index {state}: {count_of(self.added, 'missing session')} added, "
            f"{count_of(self.deleted, 'deleted session')} removed."
        )


def check_index(*, deadline: Deadline | None = None) -> IndexCheck:
    """Compare the search index with the sessions; build it again if it is damaged."""
    is_ready = trigrams.prepare()
    was_damaged = is_ready and trigrams.is_damaged()
    if was_damaged:
        logger.error("The search index was damaged. It is built again.")
        trigrams.rebuild()
    deleted = _delete_orphans()
    added = index_sessions(deadline=deadline, from_start=True)
    return IndexCheck(is_ready, was_damaged, added, deleted)


def _delete_orphans() -> int:
    """Delete the texts of sessions that no longer exist."""
    sessions = BrowserSession._base_manager.filter(pk=OuterRef("pk"))
    orphans = SessionSearch.objects.filter(~Exists(sessions))
    ids = list(orphans.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), DELETED_AT_ONCE):
        _delete(ids[start : start + DELETED_AT_ONCE])
    return len(ids)


@retried_when_busy
def _delete(ids: list[int]) -> None:
    with transaction.atomic():
        SessionSearch.objects.filter(pk__in=ids).delete()
