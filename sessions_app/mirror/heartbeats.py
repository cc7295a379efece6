"""Renews the claim on a directory while its sync is running, even if one call blocks for a long time.

During a slow listing or read the sync itself cannot renew the claim. Other workers would take the directory
over again and again, and no sync would ever finish.
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
    """Renew the claim from a thread with its own connection until the block ends.

    Inside the caller's transaction the claim is not visible to others, so nothing is renewed. The thread
    opens its connection at its first renewal, so a short sync only pays for the start of a thread (0.1 ms).
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
    # Do not renew a claim that was released in the meantime.
    own = SessionDirectory.objects.filter(pk=pk, sync_number=sync_number, claimed_at__isnull=False)
    is_connected = False
    try:
        while not has_ended.wait(RENEW_SECONDS):
            is_connected = True
            try:
                if not own.update(claimed_at=DatabaseClock()):
                    return
            except Error as error:
                # For example “database is locked”. The next renewal is early enough.
                logger.warning("A claim was not renewed: %s", type(error).__name__)
                connection.close()
    finally:
        if is_connected:
            connection.close()
