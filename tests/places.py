"""What tests need of the system: folders that all users can reach, other users, and a umask."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

IS_ROOT = os.geteuid() == 0


@contextmanager
def public_folder() -> Iterator[Path]:
    """Make a folder that every user can reach, unlike the folders of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="raptor-tests-public-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def as_user(user: int, group: int, groups: Sequence[int] = ()) -> Iterator[None]:
    """Run the block with the permissions of another user; requires root."""
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
