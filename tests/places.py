"""System resources for tests: other users, their folders, and file systems without hard links."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

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


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    """Make hard links fail, as on file systems without them."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


def access(path: Path) -> tuple[int, int, int]:
    """Return mode, owner and group of a file."""
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
