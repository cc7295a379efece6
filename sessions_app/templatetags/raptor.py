"""Template filters of the panel."""

from __future__ import annotations

from datetime import datetime
from itertools import zip_longest
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import mark_safe

from sessions_app.admin import formatting, navigation
from sessions_app.session.lookalikes import reveal
from sessions_app.text import manage_command

register = template.Library()


register.simple_tag(manage_command)


@register.simple_tag(takes_context=True)
def breadcrumbs(context: Any) -> list[navigation.Entry]:
    """Return the breadcrumbs from the dashboard to the current page."""
    return navigation.breadcrumbs(context)


@register.filter
def labelled(cells: list[str], headers: list[dict[str, Any]]) -> list[str]:
    """Add the column title to each cell of a list. On a phone, the title is shown beside the value."""
    titles = [str(header["text"]) for header in headers]
    return [_with_label(cell, title) for cell, title in zip_longest(cells, titles, fillvalue="")]


def _with_label(cell: str, title: str) -> str:
    # Django renders a cell as "<td class=…" or "<th class=…".
    if not title or "<" in title or cell[:3] not in ("<td", "<th"):
        return cell
    label = format_html(' data-label="{}"', title[:1].upper() + title[1:])
    return mark_safe(cell[:3] + label + cell[3:])  # noqa: S308  # both parts are escaped


@register.simple_tag
def active_filters(changes: Any) -> list[tuple[str, str, str]]:
    """Return the title, the value, and a URL that removes the filter, for each active filter."""
    found = []
    for chosen in changes.filter_specs:
        first, *others = chosen.choices(changes)
        value = next((choice["display"] for choice in others if choice["selected"]), None)
        if value is not None:
            found.append((chosen.title, value, first["query_string"]))
    return found


@register.filter
def instant(value: datetime | None) -> str:
    """Render an instant to the minute, with seconds and time zone on hover."""
    return formatting.moment(value)


@register.filter
def separated(number: int) -> str:
    """Format a number with commas as thousands separators."""
    return f"{number:,}"


@register.filter
def revealed(name: str) -> str:
    """Escape the characters of a name that could be mistaken for others; blank for most names."""
    escaped = reveal(name)
    return format_html(' <code class="raptor-quiet">({})</code>', escaped) if escaped else ""
