"""Opens the folder of a session directory, and refuses any other folder at its path.

If an unmounted disk, a swapped folder or a link in the path were mistaken for the registered folder, the
wrong files would be read, shown and removed.
"""

from __future__ import annotations

import errno

from django.db.models import Q

from sessions_app.models import BrowserSession, SessionDirectory
from sessions_app.session.files import SessionFolder
from sessions_app.session.links import LinkInPath

FILES_COMPARED = 10_000
"""Maximum number of known files that are compared to recognize a folder."""


class NotTheRegisteredFolder(OSError):
    """Another folder is at the path of a session directory; ``strerror`` completes a sentence.

    ``is_empty`` is True if that folder has no documents, such as the mount point of an unmounted disk.
    """

    def __init__(self, reason: str, *, is_empty: bool = False) -> None:
        super().__init__(errno.ESTALE, reason)
        self.is_empty = is_empty


def open_folder(directory: SessionDirectory) -> SessionFolder:
    """Open the registered folder of a directory.

    Device numbers can change when a machine restarts. If only the device differs, a folder that contains
    known files is accepted, and its new device is stored.

    Raises:
        NotTheRegisteredFolder: another folder is at its path, or a link is in it.
        OSError: there is no such folder, or it cannot be read.
    """
    try:
        folder = SessionFolder(directory.path)
    except LinkInPath as error:
        raise NotTheRegisteredFolder(f"a symbolic link is in its path: {error.link}") from None
    try:
        _check_identity(directory, folder)
    except BaseException:
        folder.close()
        raise
    return folder


def accept_folder(directory: SessionDirectory) -> bool:
    """Register the folder that is at the path of a directory now.

    Returns: Whether it differs from the folder that was registered before.
    Raises: OSError: there is no such folder, it cannot be read, or a link is in its path.
    """
    with SessionFolder(directory.path) as folder:
        is_other = (directory.device, directory.inode) != folder.identity
        if is_other:
            _store(directory, folder)
    return is_other


def _check_identity(directory: SessionDirectory, folder: SessionFolder) -> None:
    if (directory.device, directory.inode) == folder.identity:
        return
    # Another process may have accepted a folder since the directory was read.
    directory.refresh_from_db(fields=("device", "inode"))
    if (directory.device, directory.inode) == folder.identity:
        return
    is_same_inode = directory.inode == folder.identity[1]
    if directory.inode is None:
        _check_first_time(directory, folder)
    elif is_same_inode and _holds_known_files(directory, folder):
        _store(directory, folder)
    else:
        raise NotTheRegisteredFolder("another disk or folder is in its place", is_empty=_is_empty(folder))


def _check_first_time(directory: SessionDirectory, folder: SessionFolder) -> None:
    """Store the identity of a folder that was registered before identities were stored.

    A folder without known files may be a mount point, so its identity is not stored; an empty one is
    refused.
    """
    known = BrowserSession.objects.filter(directory=directory, file_changed_ns__isnull=False)
    names = list(known.order_by().values_list("file_name", flat=True)[:FILES_COMPARED])
    if not names or any(map(folder.has, names)):
        _store(directory, folder)
    elif _is_empty(folder):
        raise NotTheRegisteredFolder("the folder at its path has no documents", is_empty=True)


def _holds_known_files(directory: SessionDirectory, folder: SessionFolder) -> bool:
    """Check whether the folder contains at least one of the files that sessions were read from."""
    known = BrowserSession.objects.filter(Q(directory=directory), file_changed_ns__isnull=False).order_by()
    rows = list(known.values_list("file_name", "file_inode", "file_modified_ns")[:FILES_COMPARED])
    return any(folder.holds_inode(name, inode, modified_ns) for name, inode, modified_ns in rows)


def _is_empty(folder: SessionFolder) -> bool:
    return next(folder.entries(), None) is None


def _store(directory: SessionDirectory, folder: SessionFolder) -> None:
    directory.device, directory.inode = folder.identity
    SessionDirectory.objects.filter(pk=directory.pk).update(device=directory.device, inode=directory.inode)
