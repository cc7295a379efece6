"""Looks again for the files of sessions that are about to be archived as vanished."""

from __future__ import annotations

from django.db.models import QuerySet

from sessions_app.cleanup.files import mirrored
from sessions_app.cleanup.folders import NotTheRegisteredFolder, open_folder
from sessions_app.models import BrowserSession, SessionDirectory


class FolderUnreadable(OSError):
    """Nobody can tell whether files are gone: their folder cannot be looked at."""

    def __init__(self, directory: SessionDirectory, error: OSError) -> None:
        super().__init__(
            error.errno,
            f"{directory.path} cannot be looked at ({error.strerror}), so its sessions stay",
        )

    def __str__(self) -> str:
        return f"{self.strerror}."


def returned(sessions: QuerySet[BrowserSession]) -> list[int]:
    """Return the sessions whose files are there.

    An empty folder in the place of the registered one, such as a mount point, has none of them.

    Raises: FolderUnreadable: a folder is missing, cannot be read, or another one has taken its place.
    """
    files = list(mirrored(sessions).order_by().values_list("directory_id", "pk", "file_name"))
    back: list[int] = []
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
            back += [pk for owner, pk, name in files if owner == directory.pk and folder.has(name)]
    return back
