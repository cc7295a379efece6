"""Measures the panel's disk: the disk of the SQLite database, otherwise of the panel's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sessions_app.transactions.disk import FULL_BELOW_BYTES, database_folder, free_bytes
from sessions_app.transactions.reserve import SHARE_OF_FREE, is_released, reserve_bytes


class DiskSpace(NamedTuple):
    """The free bytes of a disk, None if unknown, and whether the disk is full or almost full."""

    free_bytes: int | None
    is_full: bool


def disk_space() -> DiskSpace:
    """Measure the disk of this machine.

    The disk counts as full while the reserve is released, or if it has less free space than the limit.
    """
    from django.conf import settings

    folder = database_folder() or Path(settings.RAPTOR_VAR_DIR)
    free = free_bytes(folder)
    if free is None:
        return DiskSpace(None, is_full=False)
    size = reserve_bytes()
    limit = max(FULL_BELOW_BYTES, min(size, _total_bytes(folder) // SHARE_OF_FREE))
    return DiskSpace(free, is_full=free < limit or (size > 0 and is_released(folder)))


def _total_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize
