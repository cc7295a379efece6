"""What the templates of the panel write alike."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def separated(number: int) -> str:
    """Write a number with commas, as the rest of the panel does."""
    return f"{number:,}"
