"""Permissions beyond those that Django defines for each model."""

from __future__ import annotations

from typing import Any


def may_clean_up(user: Any) -> bool:
    """Check whether a user may remove sessions and restore them."""
    return bool(user.has_perm("sessions_app.clean_up_sessions"))


def may_clean_up_all(user: Any) -> bool:
    """Check whether a user may remove all sessions in a scope, including pinned ones."""
    return may_clean_up(user) and bool(user.has_perm("sessions_app.clean_up_all_sessions"))


def may_see_endpoints(user: Any) -> bool:
    """Check whether a user may see endpoints, which give control of browsers. No role includes this."""
    return bool(user.has_perm("sessions_app.view_endpoint"))
