"""Describes cleanup criteria in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_app.text import count_of, in_days

if TYPE_CHECKING:
    from sessions_app.session.criteria import Criteria


def describe_criteria(criteria: Criteria) -> str:
    """Describe criteria, as in “expired (last accessed over 7 days ago), in namespace shop”."""
    if criteria.has_vanished:
        return "sessions whose files are gone"
    return _chosen(criteria) + _scope_in_words(criteria)


def _chosen(criteria: Criteria) -> str:
    chosen = []
    if criteria.all:
        chosen.append("all sessions")
    if criteria.expired:
        chosen.append(f"expired (last accessed over {in_days(criteria.max_age_days)} ago)")
    if criteria.invalid:
        chosen.append("invalid")
    if criteria.gone:
        chosen.append("with a browser that is gone")
    if criteria.session_ids is not None:
        chosen.append(f"{len(criteria.session_ids):,} selected")
    if criteria.selection is not None:
        chosen.append(criteria.selection.describe(criteria.max_age_days))
    if criteria.newest is not None:
        chosen.append(criteria.newest.describe())
    return " or ".join(chosen)


def _scope_in_words(criteria: Criteria) -> str:
    text = ""
    if criteria.namespace:
        text += f", in namespace {criteria.namespace}"
    elif criteria.not_namespaces:
        text += f", except {count_of(len(criteria.not_namespaces), 'limited namespace')}"
    if criteria.browser_type:
        text += f", of browser type {criteria.browser_type}"
    if criteria.not_alive:
        text += ", unless their browser is alive"
    if criteria.directory is not None:
        text += ", in one session directory"
    if criteria.not_directories:
        number = count_of(len(criteria.not_directories), "session directory", "session directories")
        text += f", but not in {number} that scheduled sweeps leave alone for now"
    if criteria.not_session_ids:
        text += f", except {len(criteria.not_session_ids):,} left out"
    if criteria.protected:
        text += f", without protected ones ({', '.join(rule.describe() for rule in criteria.protected)})"
    return text
