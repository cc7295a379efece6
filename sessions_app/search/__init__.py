"""The search index: the texts of all sessions, and an index of the database on their parts."""

from __future__ import annotations

from sessions_app.search.checking import check_index
from sessions_app.search.filling import (
    SearchIncomplete,
    complete_index,
    index_session,
    index_sessions,
    is_missing_any,
    labels_by_session,
    read_text,
    remove_texts,
)
from sessions_app.search.lookup import MIN_CHARACTERS, CannotSearch, Hits, find
from sessions_app.search.trigrams import prepare

__all__ = [
    "MIN_CHARACTERS",
    "CannotSearch",
    "Hits",
    "SearchIncomplete",
    "check_index",
    "complete_index",
    "find",
    "index_session",
    "index_sessions",
    "is_missing_any",
    "labels_by_session",
    "prepare",
    "read_text",
    "remove_texts",
]
