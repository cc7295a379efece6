"""Mirrors session directories into the database: files that were added, changed or have vanished.

Files are told apart by their stamps, so an unchanged file is not opened. A session whose file has
vanished goes to the archive through ``cleanup``, as every removal does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from sessions_app.endpoints import mask_endpoints
from sessions_app.mirror import Mirror, SyncResult
from sessions_app.models import DatabaseClock, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.models.directory import PATH_LENGTH
from sessions_app.session_files import SessionFolder

CLAIM_LAPSES_AFTER = timedelta(minutes=5)


class DirectoryError(Exception):
    """A session directory cannot be registered or mirrored; the message says why and what to do."""


def register_directory(path: str | Path, *, namespace: str = "") -> SessionDirectory:
    """Register a folder to be mirrored; one that is registered already is given back.

    Args:
        namespace: Where its sessions are listed; ``RAPTOR_NAMESPACE`` where blank.
    Raises: DirectoryError: it is no folder, or is mirrored into another namespace.
    """
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise DirectoryError(f"{folder} is not a folder on this machine. Check the path.")
    if len(str(folder)) > PATH_LENGTH:
        raise DirectoryError(f"A path of more than {PATH_LENGTH:,} characters cannot be registered.")
    directory, is_new = SessionDirectory.objects.get_or_create(
        path=str(folder), defaults={"namespace": namespace or settings.RAPTOR_NAMESPACE}
    )
    if not is_new and namespace and directory.namespace != namespace:
        raise DirectoryError(
            f"{folder} is mirrored into the namespace {directory.namespace}, not {namespace}. "
            "Leave --namespace out, or name that one."
        )
    return directory


def sync_directory(
    directory: SessionDirectory,
    *,
    trigger: str,
    actor: str = "",
    progress: Callable[[int], None] = lambda files: None,
) -> SyncResult:
    """Bring the sessions of a directory in step with its files.

    Args:
        trigger, actor: Who the ledger names for sessions whose files have vanished.
        progress: Called with the number of files just read.
    Raises: DirectoryError: the folder cannot be read, or a sync of it is at work; no row was touched.
    """
    _claim(directory)
    result, error = SyncResult(), ""
    try:
        try:
            folder = SessionFolder(directory.path)
        except OSError as failure:
            raise DirectoryError(
                f"{directory.path} cannot be read: {failure.strerror}. Its sessions are kept as they are."
            ) from None
        with folder:
            Mirror(directory, folder, result, progress).sync(trigger=trigger, actor=actor)
    except Exception as failure:
        # A database's error may quote the row, endpoint included.
        error = mask_endpoints(str(failure))
        raise
    finally:
        _release(directory, result, error)
    return result


def _claim(directory: SessionDirectory) -> None:
    lapsed = Q(claimed_at=None) | Q(claimed_at__lt=database_now() - CLAIM_LAPSES_AFTER)
    if not SessionDirectory.objects.filter(lapsed, pk=directory.pk).update(claimed_at=DatabaseClock()):
        raise DirectoryError(f"A sync of {directory.path} is at work already. Try again when it has ended.")


def _release(directory: SessionDirectory, result: SyncResult, error: str) -> None:
    directory.synced_at, directory.error, directory.report = database_now(), error, result.to_json()
    directory.claimed_at = None
    directory.save(update_fields=["synced_at", "error", "report", "claimed_at"])
