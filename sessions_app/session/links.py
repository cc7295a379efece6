"""Opens folders without following a symbolic link in any component of their paths."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
# O_PATH needs no permission to read the parent folders. On macOS O_NOFOLLOW_ANY replaces this walk.
_PARENT_FLAGS = _FOLDER | getattr(os, "O_PATH", os.O_RDONLY)


class LinkInPath(OSError):
    """A component of a path is a symbolic link: ``link``."""

    def __init__(self, link: Path) -> None:
        super().__init__(errno.ELOOP, f"{link} is a symbolic link")
        self.link = link


def open_without_links(path: Path) -> int:
    """Open a folder for reading and return its file descriptor.

    Raises:
        LinkInPath: a component is a symbolic link.
        OSError: there is no such folder, or it cannot be read.
    """
    try:
        if any_link := getattr(os, "O_NOFOLLOW_ANY", 0):  # macOS
            return os.open(path, os.O_RDONLY | _FOLDER | any_link)
        return _walk(path.absolute().parts)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and (link := _first_link(path)):
            raise LinkInPath(link) from None
        raise


def _walk(parts: tuple[str, ...]) -> int:
    """Open each component relative to the previous one."""
    fd = os.open(parts[0], _PARENT_FLAGS if len(parts) > 1 else os.O_RDONLY | _FOLDER)
    for number, part in enumerate(parts[1:], 1):
        is_last = number == len(parts) - 1
        try:
            following = os.open(part, os.O_RDONLY | _FOLDER if is_last else _PARENT_FLAGS, dir_fd=fd)
        finally:
            os.close(fd)
        fd = following
    return fd


def _first_link(path: Path) -> Path | None:
    for part in (*reversed(path.parents), path):
        try:
            if stat.S_ISLNK(part.lstat().st_mode):
                return part
        except OSError:
            return None
    return None
