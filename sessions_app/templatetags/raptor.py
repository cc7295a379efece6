"""What the templates of the panel write alike."""

from __future__ import annotations

from django import template
from django.utils.html import format_html

from sessions_app.session.lookalikes import reveal

register = template.Library()


@register.filter
def separated(number: int) -> str:
    """Write a number with commas, as the rest of the panel does."""
    return f"{number:,}"


@register.filter
def revealed(name: str) -> str:
    """Show beside a name what cannot be seen in it; nothing beside most names."""
    escaped = reveal(name)
    return format_html(' <code class="raptor-quiet">({})</code>', escaped) if escaped else ""
