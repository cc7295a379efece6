"""Fills the search index: imported sessions by the worker, saved ones when they are saved.

A stored text is that of the current document: who changes a document also changes its text, in the same
transaction. So a session is either indexed correctly or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from sessions_app.deadline import Deadline
from sessions_app.models import BrowserSession, SessionSearch
from sessions_app.session.document import DocumentFields
from sessions_app.session.search_text import SearchText, labels_of, search_text
from sessions_app.text import count_of
from sessions_app.transactions import retried_when_busy

BATCH_ROWS = 200
BATCH_BYTES = 4 * 1024 * 1024
"""Maximum sessions and bytes of documents in a batch, which other writers wait for."""

LOOK_BACK = 10_000
"""Number of ids below the last indexed one that are searched again: their transactions may end later."""

COMPLETE_SECONDS = 20.0
"""Maximum time that a plan waits for the index."""

_COLUMNS = ("pk", "name", "session_id", "content__cdp_url", "content__document")


class SearchIncomplete(Exception):
    """The search index does not have all sessions yet. The message says how many are missing."""


def index_session(pk: int, found: SearchText) -> None:
    """Store the text of a session whose document was written, in the caller's transaction.

    Args:
        found: From ``read_text``, which takes long for a large document: call it before the transaction.
    """
    unchanged = SessionSearch.objects.filter(pk=pk, text=found.text, labels=found.labels)
    if not unchanged.exists():
        SessionSearch.objects.update_or_create(pk=pk, defaults=found._asdict())


def read_text(name: str, fields: DocumentFields, document: bytes) -> SearchText:
    """Read the text of a session from its document."""
    return _text_of(name, fields.session_id, fields.cdp_url, document)


def index_sessions(
    *,
    deadline: Deadline | None = None,
    from_start: bool = False,
    progress: Callable[[int], None] = lambda sessions: None,
) -> int:
    """Index sessions that are missing, in batches that each commit alone; return their number.

    Args:
        from_start: Search all sessions, and not only the latest ones, a second for a million sessions.
        progress: Called after each batch with its number of sessions.
    """
    deadline = deadline or Deadline()
    position = 0 if from_start else _start()
    count = 0
    while not deadline.has_passed and (ids := _missing_after(position)):
        for batch in _batches(ids):
            _store(batch)
            count += len(batch)
            progress(len(batch))
        position = ids[-1]
    return count


def complete_index() -> None:
    """Index all missing sessions before a plan that depends on their texts.

    Raises: SearchIncomplete: there are too many.
    """
    deadline = Deadline.after(COMPLETE_SECONDS)
    index_sessions(deadline=deadline, from_start=True)
    if deadline.has_passed and (left := _missing(0).count()):
        raise SearchIncomplete(
            f"The search index is being built, and {count_of(left, 'session')} are missing. "
            "Nothing was planned. Try again later."
        )


def is_missing_any() -> bool:
    """Check whether recently added sessions are missing from the index."""
    return _missing(_start()).exists()


def unindexed(limit: int) -> list[int] | None:
    """Return the live sessions that are newer than all indexed ones; None if they are many or large."""
    last = SessionSearch.objects.order_by("-pk").values("pk")[:1]
    rows = BrowserSession.objects.filter(pk__gt=Coalesce(Subquery(last), 0)).order_by("pk")
    sizes = dict(rows.values_list("pk", "size_bytes")[: limit + 1])
    return None if len(sizes) > limit or sum(sizes.values()) > BATCH_BYTES else list(sizes)


def texts_of(ids: Iterable[int]) -> dict[int, SearchText]:
    """Read the texts of live sessions from their documents."""
    return {pk: found for batch in _batches(ids) for pk, found in batch.items()}


def labels_by_session(ids: Collection[int]) -> dict[int, dict[str, str]]:
    """Return the labels of a page of live sessions, also of those that are not indexed yet."""
    stored = SessionSearch.objects.filter(pk__in=ids).values_list("pk", "labels")
    texts = dict(stored)
    missing = [pk for pk in ids if pk not in texts]
    for batch in _batches(missing):
        texts |= {pk: found.labels for pk, found in batch.items()}
    return {pk: labels_of(text) for pk, text in texts.items()}


def remove_texts(ids: Collection[int]) -> None:
    """Delete the texts of sessions that are deleted permanently, in the caller's transaction."""
    SessionSearch.objects.filter(pk__in=ids).delete()


def _start() -> int:
    last = SessionSearch.objects.aggregate(last=Max("pk"))["last"] or 0
    return max(0, last - LOOK_BACK)


def _missing(position: int) -> QuerySet[BrowserSession]:
    """Return the sessions after a position, live and archived, that are not indexed."""
    indexed = SessionSearch.objects.filter(pk=OuterRef("pk"))
    return BrowserSession._base_manager.filter(~Exists(indexed), pk__gt=position).order_by("pk")


def _missing_after(position: int) -> list[int]:
    return list(_missing(position).values_list("pk", flat=True)[:BATCH_ROWS])


def _batches(ids: Iterable[int]) -> Iterator[dict[int, SearchText]]:
    """Yield the texts of sessions by id, in batches of limited bytes."""
    wanted = BrowserSession._base_manager.filter(pk__in=list(ids)).order_by("pk")
    sizes = list(wanted.values_list("pk", "size_bytes"))
    while sizes:
        some: list[int] = []
        total = 0
        while sizes and (not some or total + sizes[0][1] <= BATCH_BYTES):
            pk, size_bytes = sizes.pop(0)
            some.append(pk)
            total += size_bytes
        rows = list(BrowserSession._base_manager.filter(pk__in=some).values_list(*_COLUMNS))
        # A row that was written by SQL may have no document.
        yield {
            pk: _text_of(name, own_id, url or "", bytes(data or b"")) for pk, name, own_id, url, data in rows
        }


def _text_of(name: str, session_id: str, cdp_url: str, document: bytes) -> SearchText:
    return search_text(document, name=name, session_id=session_id, cdp_url=cdp_url)


@retried_when_busy
def _store(batch: dict[int, SearchText]) -> None:
    rows = [SessionSearch(session_key=pk, text=text, labels=labels) for pk, (text, labels) in batch.items()]
    with transaction.atomic():
        # A session that was saved in the meantime already has the text of its newer document.
        SessionSearch.objects.bulk_create(rows, ignore_conflicts=True)
