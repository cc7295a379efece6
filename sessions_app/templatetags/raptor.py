"""Template filters of the panel."""

from __future__ import annotations

from django import template
from django.utils.html import format_html

from sessions_app.session.lookalikes import reveal

register = template.Library()


@register.filter
def separated(number: int) -> str:
    """Format a number with commas as thousands separators."""
    return f"{number:,}"


@register.filter
def revealed(name: str) -> str:
    """Escape the characters of a name that could be mistaken for others; blank for most names."""
    escaped = reveal(name)
    return format_html(' <code class="raptor-quiet">({})</code>', escaped) if escaped else ""
