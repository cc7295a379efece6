"""A small disk for the database of a test, and ways to fill it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connection

from tests.places import IS_ROOT

MB = 1024 * 1024
_FILL_BYTES = 4096


@dataclass
class Disk:
    """A mounted file system."""

    path: Path

    @property
    def filler(self) -> Path:
        return self.path / "filler"

    @property
    def free_bytes(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self) -> None:
        """Fill the disk to its last block."""
        block = b"x" * _FILL_BYTES
        # A running panel may write to the last free block first.
        with self.filler.open("ab", buffering=0) as filler, suppress(OSError):
            while self.free_bytes:
                filler.write(block * max(1, self.free_bytes // _FILL_BYTES // 2))

    def free(self, size_bytes: int) -> None:
        os.truncate(self.filler, self.filler.stat().st_size - size_bytes)


@contextmanager
def mounted(path: Path, *, size_bytes: int) -> Iterator[Disk]:
    """Mount a disk in memory; skip the test if this user or this system cannot."""
    path.mkdir()
    command = ("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path))
    if not IS_ROOT or sys.platform != "linux" or subprocess.run(command, check=False).returncode:
        pytest.skip("a disk can be mounted only by root on Linux")
    try:
        yield Disk(path)
    finally:
        subprocess.run(("umount", "-l", str(path)), check=True)


@contextmanager
def database_in(folder: Path) -> Iterator[Path]:
    """Move the SQLite database of the test to a folder."""
    original = connection.settings_dict["NAME"]
    moved = folder / "raptor.sqlite3"
    with connection.cursor() as cursor:
        # Without the space that earlier tests used.
        cursor.execute("VACUUM INTO %s", [str(moved)])
    connection.close()
    connection.settings_dict["NAME"] = str(moved)
    try:
        yield moved
    finally:
        connection.close()
        connection.settings_dict["NAME"] = original


@contextmanager
def limited_pages(spare: int) -> Iterator[None]:
    """Let the database grow by a few pages only; SQLite reports further growth as a full disk."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count={pages + spare}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA max_page_count=1073741823")
