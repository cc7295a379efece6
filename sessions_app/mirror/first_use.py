"""Finds the folder in which RAPTOR saves its sessions. An empty panel offers to mirror it."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sessions_app.models import SessionDirectory
from sessions_app.session.files import SUFFIX

COUNT_LIMIT = 10_000
"""Maximum documents that a page counts; it shows larger numbers as “10,000+”."""


class FoundFolder(NamedTuple):
    """An unmirrored folder with documents."""

    path: str
    document_count: int

    @property
    def has_more(self) -> bool:
        return self.document_count > COUNT_LIMIT


def default_folder() -> Path:
    """Return RAPTOR's default folder for the user that runs the panel."""
    # Unlike Path.expanduser(), this does not fail for a user without a home folder.
    return Path(os.path.expanduser("~/.raptor/sessions"))  # noqa: PTH111


def find_folder() -> FoundFolder | None:
    """Return the default folder with its number of documents; None if it is mirrored or unreadable."""
    try:
        folder = default_folder().resolve()
        if SessionDirectory.objects.filter(path=str(folder)).exists():
            return None
        with os.scandir(folder) as entries:
            documents = (entry for entry in entries if entry.name.endswith(SUFFIX))
            count = sum(1 for _ in islice(documents, COUNT_LIMIT + 1))
    except (OSError, RuntimeError, ValueError):
        return None
    return FoundFolder(str(folder), count)
