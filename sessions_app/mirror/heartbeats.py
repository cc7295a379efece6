"""Renews the claim on a directory while its sync works, also while one call blocks for long.

A slow listing or read gives the sync itself no chance to renew the claim. Another worker would take the
directory over again and again, and nothing would ever come in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connection

from sessions_app.models import DatabaseClock, SessionDirectory

logger = logging.getLogger(__name__)

RENEW_SECONDS = 5.0
"""Interval between two renewals: a claim lapses after four of them."""

END_SECONDS = 10.0
"""Maximum time to wait for a renewal in progress at the end; SQLite waits up to 5 s for its lock."""


@contextmanager
def renewing_claim(directory: SessionDirectory) -> Iterator[None]:
    """Renew the claim from a thread with a connection of its own until the block ends.

    Within a transaction of the caller the claim is not visible to others, so nothing is renewed. The thread
    opens its connection at its first renewal; a short sync pays for the start of a thread alone (0.1 ms).
    """
    if connection.in_atomic_block:
        yield
        return
    has_ended = threading.Event()
    thread = threading.Thread(
        target=_renew, args=(directory.pk, directory.sync_number, has_ended), name="renew-claim", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join(END_SECONDS)


def _renew(pk: int, sync_number: int, has_ended: threading.Event) -> None:
    # A claim that was released meanwhile is not taken again.
    own = SessionDirectory.objects.filter(pk=pk, sync_number=sync_number, claimed_at__isnull=False)
    is_connected = False
    try:
        while not has_ended.wait(RENEW_SECONDS):
            is_connected = True
            try:
                if not own.update(claimed_at=DatabaseClock()):
                    return
            except Error as error:
                # Such as “database is locked”: the next renewal is in time.
                logger.warning("A claim was not renewed: %s", type(error).__name__)
                connection.close()
    finally:
        if is_connected:
            connection.close()
