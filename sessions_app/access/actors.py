"""Who the ledger names where nobody has logged in."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Name the user of the operating system, as the ledger is to have it; blank where there is none."""
    try:
        return getpass.getuser()[:150]
    except (KeyError, OSError, ImportError):
        return ""
