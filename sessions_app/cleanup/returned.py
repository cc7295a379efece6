"""Checks again whether files are missing before their sessions are archived as vanished."""

from __future__ import annotations

from django.db.models import QuerySet

from sessions_app.cleanup.files import mirrored
from sessions_app.cleanup.folders import NotTheRegisteredFolder, open_folder
from sessions_app.models import BrowserSession, SessionDirectory


class FolderUnreadable(OSError):
    """A folder cannot be read, so it is unknown whether its files are gone."""

    def __init__(self, directory: SessionDirectory, error: OSError) -> None:
        super().__init__(
            error.errno,
            f"{directory.path} cannot be read ({error.strerror}), so its sessions are kept",
        )

    def __str__(self) -> str:
        return f"{self.strerror}."


def returned(sessions: QuerySet[BrowserSession]) -> list[int]:
    """Return the sessions whose files exist.

    An empty folder at the path of the registered one, such as a mount point, has no files.

    Raises: FolderUnreadable: a folder is missing or unreadable, or another folder is at its path.
    """
    files = list(mirrored(sessions).order_by().values_list("directory_id", "pk", "file_name"))
    existing: list[int] = []
    for directory in SessionDirectory.objects.filter(pk__in={directory for directory, _, _ in files}):
        try:
            folder = open_folder(directory)
        except NotTheRegisteredFolder as error:
            if error.is_empty:
                continue
            raise FolderUnreadable(directory, error) from None
        except OSError as error:
            raise FolderUnreadable(directory, error) from None
        with folder:
            existing += [pk for owner, pk, name in files if owner == directory.pk and folder.has(name)]
    return existing
