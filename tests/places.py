"""Folders that tests need from the system: small, read-only, or of other users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

IS_ROOT = os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size: str = "256k") -> Iterator[Path]:
    """Mount a file system of a small size; skip the test where that is not permitted."""
    folder.mkdir(exist_ok=True)
    command = ("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    if not IS_ROOT or sys.platform != "linux" or subprocess.run(command, check=False).returncode:
        pytest.skip("a file system can only be mounted by root on Linux")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that every user reaches, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="raptor-tests-public-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def as_user(user: int, group: int, groups: Sequence[int] = ()) -> Iterator[None]:
    """Work with the rights of another user; needs root."""
    before = os.getgroups()
    os.setgroups([group, *groups])
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
