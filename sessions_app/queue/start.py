"""The time at which the panel was started. Its worker announces itself a few seconds later.

The web server imports this module before Django is set up.
"""

from __future__ import annotations

import os
import time

START_SECONDS = 60.0
"""Time after the start of the web server during which a missing worker is not reported."""

WEB_STARTED_AT = "WEB_STARTED_AT"
"""Environment variable in which the web server stores the Unix time of its start."""


def is_panel_starting() -> bool:
    """Check whether the web server started so recently that its worker may still be starting."""
    started_at = os.environ.get(WEB_STARTED_AT)
    return started_at is not None and 0 <= time.time() - float(started_at) < START_SECONDS
