"""Permissions beyond those that Django defines for each model."""

from __future__ import annotations

from typing import Any


def may_clean_up(user: Any) -> bool:
    """Check whether a user may remove sessions and restore them."""
    return bool(user.has_perm("sessions_app.clean_up_sessions"))


def may_plan(user: Any) -> bool:
    """Check whether a user may plan a cleanup, whose preview shows sessions."""
    return may_clean_up(user) and bool(user.has_perm("sessions_app.view_browsersession"))


def may_clean_up_all(user: Any) -> bool:
    """Check whether a user may remove all sessions in a scope, including pinned ones."""
    return may_clean_up(user) and bool(user.has_perm("sessions_app.clean_up_all_sessions"))


def may_see_endpoints(user: Any) -> bool:
    """Check whether a user may see endpoints, which give control of browsers. No role includes this."""
    return bool(user.has_perm("sessions_app.view_endpoint"))


def may_close_browsers(user: Any) -> bool:
    """Check whether a user may open and close the browsers of sessions."""
    return bool(user.has_perm("sessions_app.close_browser"))


def may_run(user: Any, *, covers_all: bool, closes_browsers: bool) -> bool:
    """Check whether a user may start a cleanup.

    Args:
        covers_all: Whether the criteria are “all”, so that the cleanup also removes pinned sessions.
        closes_browsers: Whether the cleanup closes the browsers of the sessions that it removes.
    """
    if closes_browsers and not may_close_browsers(user):
        return False
    return may_clean_up_all(user) if covers_all else may_clean_up(user)


def may_probe_browsers(user: Any) -> bool:
    """Check whether a user may probe the browsers of sessions, which stores their state."""
    return bool(user.has_perm("sessions_app.change_browsersession"))
