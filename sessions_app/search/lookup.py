"""Finds sessions by parts of their texts, among all sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection
from django.db.models import Q

from sessions_app.models import SessionSearch
from sessions_app.search import trigrams
from sessions_app.search.filling import texts_of, unindexed

MIN_CHARACTERS = 3
"""Shorter words are not in the index of the database."""

MAX_PARTS = 10
"""Maximum words that the index is asked for; the caller checks all."""

UNINDEXED = 300
"""Maximum sessions outside the index that a search reads itself, in a tenth of a second."""


class Hits(NamedTuple):
    """Sessions, live and archived, that match a search.

    Args:
        ids: Their primary keys, the latest first.
        is_truncated: There are more.
        is_exact: All of them match. Otherwise the caller checks the condition of the search.
    """

    ids: list[int]
    is_truncated: bool
    is_exact: bool


class CannotSearch(Exception):
    """The index cannot answer a search. The message gives the reason and ends without a full stop."""


def find(words: Sequence[str], *, limit: int, reads_new: bool = True) -> Hits:
    """Return the latest sessions that mention all words.

    Args:
        reads_new: Also read the documents of live sessions that are not indexed yet.

    Raises: CannotSearch: the index does not exist, it is being built, or all words are short.
    """
    parts = [part for part in map(_indexed_part, words) if len(part) >= MIN_CHARACTERS][:MAX_PARTS]
    if not parts:
        raise CannotSearch(f"A word needs {MIN_CHARACTERS} characters to be searched in all sessions")
    if not trigrams.was_ready():
        raise CannotSearch("The database has no index for parts of texts")
    latest = unindexed(UNINDEXED)
    if latest is None:
        raise CannotSearch("The search index is being built, a few minutes after a large import")
    texts = texts_of(latest) if latest and reads_new else {}
    added = [pk for pk, found in texts.items() if all(map(found.mentions, words))]
    ids = _find_indexed(parts, limit + 1)
    is_exact = len(parts) == len(words) and not any(":" in word for word in words)
    return Hits([*reversed(added), *ids[:limit]], len(ids) > limit, is_exact)


def _indexed_part(word: str) -> str:
    """Return the part of a word that each matching text contains: of ``key:value``, the value."""
    word = word.lower()
    return word.partition(":")[2] if ":" in word else word


def _find_indexed(parts: Sequence[str], limit: int) -> list[int]:
    if connection.vendor == "postgresql":
        contains = Q(*[Q(text__contains=part) for part in parts])
        rows = SessionSearch.objects.filter(contains).order_by("-pk")
        return list(rows.values_list("pk", flat=True)[:limit])
    # A quoted string is searched literally.
    phrases = " AND ".join('"{}"'.format(part.replace('"', '""')) for part in parts)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT rowid FROM {trigrams.INDEX} WHERE {trigrams.INDEX} MATCH %s "  # noqa: S608
            "ORDER BY rowid DESC LIMIT %s",
            [phrases, limit],
        )
        return [pk for (pk,) in cursor.fetchall()]
