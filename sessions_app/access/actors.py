"""The actor of actions without a logged-in user."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Return the name of the operating system's user, in the length of ``actor``; blank if there is none."""
    try:
        return getpass.getuser()[:150]
    except (KeyError, OSError, ImportError):
        return ""
