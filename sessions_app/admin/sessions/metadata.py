"""Columns and filters of the list for metadata keys, such as ``user`` and ``env``.

The offered keys and values come from the most recently accessed sessions; the URL of the list accepts any. A
user's choice of columns is stored in the login session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from sessions_app.access.visibility import hidden_from, is_visible
from sessions_app.admin.changelist import first_rows
from sessions_app.admin.filters import CountedFilter
from sessions_app.admin.formatting import NONE
from sessions_app.admin.sessions.index_choice import BY_AGE
from sessions_app.models import BrowserSession
from sessions_app.session.lookups import Indexed, has_label
from sessions_app.session.search_text import labels_of
from sessions_app.session.selection import MAX_METADATA_FILTERS, METADATA

SAMPLE_ROWS = 200
KEYS_SHOWN = 12
VALUES_SHOWN = 20
FILTERS_SHOWN = 3
"""Maximum number of keys that have a filter although they are not columns."""
MAX_COLUMNS = 4
LONG_WORD = 20
"""Longer words may break, so that the list fits the page."""
_COLUMNS_KEY = "raptor_columns"


def sample_metadata(request: HttpRequest) -> dict[str, Counter[str]]:
    """Count the values of each key in the most recently accessed sessions, once for each request."""
    found: dict[str, Counter[str]] | None = request.__dict__.get("raptor_metadata")
    if found is None:
        found = request.__dict__["raptor_metadata"] = _count_values(request)
    return found


def _count_values(request: HttpRequest) -> dict[str, Counter[str]]:
    latest = BrowserSession.objects.order_by(*BY_AGE).annotate(labels=Indexed("labels"))
    visible = [is_visible(request.user)] if hidden_from(request.user) else []
    rows, _ = first_rows(latest, *visible, columns=("labels",), bound=SAMPLE_ROWS)
    counts: dict[str, Counter[str]] = {}
    for _, text in rows:
        for key, value in labels_of(text).items():
            counts.setdefault(key, Counter())[value] += 1
    return counts


def offered_keys(request: HttpRequest) -> list[str]:
    """Return the keys that can be columns: the most common keys and the chosen ones."""
    counts = sample_metadata(request)
    common = sorted(counts, key=lambda key: (-counts[key].total(), key))[:KEYS_SHOWN]
    return sorted({*common, *chosen_columns(request)})


def chosen_columns(request: HttpRequest) -> list[str]:
    """Return the keys that the user has chosen as columns."""
    stored = request.session.get(_COLUMNS_KEY, []) if hasattr(request, "session") else []
    return [key for key in stored if isinstance(key, str)][:MAX_COLUMNS]


def choose_columns(request: HttpRequest, keys: Iterable[str]) -> None:
    request.session[_COLUMNS_KEY] = sorted({key[:100] for key in keys if key})[:MAX_COLUMNS]


def filters_of(request: HttpRequest) -> list[type[CountedFilter]]:
    """Return filters for the keys in the URL, for the columns, and for some keys with few values."""
    named = sorted(name.removeprefix(METADATA) for name in request.GET if name.startswith(METADATA))
    counts = sample_metadata(request)
    grouping = [key for key, values in counts.items() if len(values) < min(values.total(), VALUES_SHOWN)]
    keys = [*named[:MAX_METADATA_FILTERS], *chosen_columns(request), *_first(grouping, counts)]
    return [_filter_of(key) for key in dict.fromkeys(keys)]


def _first(keys: list[str], counts: dict[str, Counter[str]]) -> list[str]:
    """Return the most common keys, keys with few values first."""
    return sorted(keys, key=lambda key: (-counts[key].total(), len(counts[key]), key))[:FILTERS_SHOWN]


class MetadataFilter(CountedFilter):
    """Accepts any value in the URL, and offers the most common ones."""

    key = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[Any, Any]]:
        values = sample_metadata(request).get(self.key, Counter())
        common = [value for value, _ in values.most_common(VALUES_SHOWN)]
        chosen = [value] if (value := self.value()) else []
        return [(value, value) for value in sorted({*common, *chosen})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(has_label(self.key, value)) if value else queryset


def _filter_of(key: str) -> type[CountedFilter]:
    attributes = {"key": key, "title": key, "parameter_name": f"{METADATA}{key}"}
    return type("KeyFilter", (MetadataFilter,), attributes)


def column_of(key: str) -> Callable[[BrowserSession], str]:
    """Return the list column for a key."""

    @admin.display(description=key)
    def metadata(session: Any) -> str:
        value = session.labels.get(key, NONE)
        is_long = max(map(len, value.split()), default=0) > LONG_WORD
        return format_html('<span class="raptor-long">{}</span>', value) if is_long else value

    return metadata
