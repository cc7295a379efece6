"""Registers session directories and brings the database in step with them, one sync of each at a time."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import F, Q

from sessions_app.cleanup.folders import NotTheRegisteredFolder, accept_folder, open_folder
from sessions_app.deadline import Deadline
from sessions_app.mirror.arrivals import inspect_folder, protect_foreign
from sessions_app.mirror.heartbeats import renewing_claim
from sessions_app.mirror.sync import ClaimLost, Mirror
from sessions_app.mirror.vanished import Loss, release_loss, sessions_with_files
from sessions_app.models import DatabaseClock, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.models.fields import NAMESPACE_LENGTH, PATH_LENGTH
from sessions_app.session.files import SessionFolder
from sessions_app.session.masking import safe_message
from sessions_app.session.sync_result import SyncResult
from sessions_app.transactions import retried_when_busy, retry_when_busy
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import retry_with_room

logger = logging.getLogger(__name__)

WAIT_SECONDS = 60
POLL_SECONDS = 0.02
CLAIM_LAPSES_AFTER = timedelta(seconds=20)
"""A sync at work renews its claim (``heartbeats``); one that was killed holds nobody up for long."""


class DirectoryError(Exception):
    """A session directory cannot be registered or mirrored; the message says why and what to do."""


class DirectoryBusy(DirectoryError):
    """A sync of it is at work."""


def register_directory(path: str | Path, *, namespace: str = "", is_enabled: bool = True) -> SessionDirectory:
    """Register a folder to be mirrored; one that is registered already is given back.

    Args:
        namespace: Where its sessions are listed; ``RAPTOR_NAMESPACE`` where blank.
        is_enabled: Whether the schedule mirrors it, once a minute.
    Raises: DirectoryError: it is no folder, or is mirrored into another namespace.
    """
    try:
        folder = Path(path).expanduser().resolve()
        str(folder).encode()
    except (RuntimeError, UnicodeEncodeError, OSError, ValueError):
        # No such user, a loop of links, bytes that are not UTF-8, a NUL.
        raise DirectoryError(f"{str(path)!r} is not a path that can be registered.") from None
    check_namespace(namespace)
    if not folder.is_dir():
        raise DirectoryError(f"{folder} is not a folder on this machine. Check the path.")
    if len(str(folder)) > PATH_LENGTH:
        raise DirectoryError(f"A path of more than {PATH_LENGTH:,} characters cannot be registered.")
    values = {"namespace": namespace or settings.RAPTOR_NAMESPACE, "is_enabled": is_enabled}
    directory, is_new = retry_when_busy(
        lambda: SessionDirectory.objects.get_or_create(
            path=str(folder), defaults={**values, **identity_of(folder)}
        )
    )
    if not is_new and namespace and directory.namespace != namespace:
        raise DirectoryError(
            f"{folder} is mirrored into the namespace {directory.namespace}, not {namespace}. "
            "Name that one, or none."
        )
    return directory


def register_own_folder(folder: Path, namespace: str) -> SessionDirectory:
    """Register the folder that a ``SessionManager`` was given, and make it if it is new.

    It is not enabled: the schedule does not mirror it, a folder that was made anew is accepted, and the loss
    of its files is not held, because the users of a manager expect a deleted file to be gone at once.

    Raises: DirectoryError, OSError: the folder cannot be used.
    """
    known = SessionDirectory.objects.filter(path=str(folder)).first()
    if known is not None and namespace in ("", known.namespace):
        # One that is gone stays gone, or the sessions of an unmounted disk would count as removed.
        return known
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Folders have files of the same names: each is a namespace of its own.
    own = f"{folder.name[:60]}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    directory = register_directory(folder, namespace=namespace or own, is_enabled=False)
    if known is None:
        found = inspect_folder(directory)
        logger.info("%s is registered: %s", folder, found.describe())
        if warning := found.warning():
            logger.warning("%s: %s", folder, warning)
    return directory


def identity_of(folder: str | Path) -> dict[str, int]:
    """Return the values by which the folder is recognized; none if it cannot be opened now."""
    try:
        with SessionFolder(folder) as opened:
            return dict(zip(("device", "inode"), opened.identity, strict=True))
    except OSError:
        return {}


def accept_other_folder(directory: SessionDirectory) -> bool:
    """Accept the folder that is at the path of a directory now as the registered one.

    Returns: Whether it is another one than before.
    Raises: DirectoryError: there is no folder, or it cannot be read.
    """
    try:
        return accept_folder(directory)
    except OSError as failure:
        raise DirectoryError(f"{directory.path} cannot be accepted: {failure.strerror}.") from None


def check_namespace(namespace: str) -> None:
    """Refuse what cannot be a namespace.

    Raises: DirectoryError: it is too long, or has characters that cannot be seen.
    """
    if len(namespace) > NAMESPACE_LENGTH or namespace != namespace.strip() or not namespace.isprintable():
        raise DirectoryError(
            f"A namespace has at most {NAMESPACE_LENGTH} visible characters, and no space at either end."
        )


def sync_directory(
    directory: SessionDirectory,
    *,
    trigger: str,
    actor: str = "",
    deadline: Deadline | None = None,
    progress: Callable[[int], None] = lambda files: None,
) -> SyncResult:
    """Bring the sessions of a directory in step with its files.

    Args:
        trigger, actor: Who the ledger names for sessions whose files have vanished.
        deadline: After it no further batch starts; the next sync goes on.
        progress: Called with the number of files just read.
    Raises: DirectoryError: the folder cannot be read, or a sync of it is at work; no row was touched.
    """
    _claim(directory)
    result, error = SyncResult.following(directory.report), ""
    try:
        try:
            with renewing_claim(directory), open_folder(directory) as folder:
                mirror = Mirror(directory, folder, result, deadline or Deadline(), progress)
                mirror.sync(trigger=trigger, actor=actor)
            protect_foreign(directory, result)
        except NotTheRegisteredFolder as failure:
            error = _not_registered(directory, failure)
            if not (failure.is_empty and _hold_all(directory, result, trigger=trigger, actor=actor)):
                raise DirectoryError(error) from None
        except OSError as failure:
            if message := disk_full_message(failure, folder=directory.path):
                raise DirectoryError(message) from None
            reason = (
                f"{directory.path} cannot be read: {failure.strerror}. Its sessions are kept as they are."
            )
            raise DirectoryError(reason) from None
        except ClaimLost:
            raise DirectoryBusy(f"Another sync of {directory.path} has taken over from this one.") from None
    except Exception as failure:
        error = safe_message(failure)
        raise
    finally:
        _release(directory, result, error)
    return result


def sync_when_free(directory: SessionDirectory, *, trigger: str, actor: str) -> SyncResult:
    """Sync a directory; a sync of somebody else's is waited for, and then done again.

    That one may have looked at the files before the caller put one there.

    Raises: DirectoryError: see ``sync_directory``; or the directory is not registered any more.
    """
    until = Deadline.after(WAIT_SECONDS)
    while True:
        # Read anew, and not refreshed: threads that share a directory would spoil each other's claims.
        own = SessionDirectory.objects.filter(pk=directory.pk).first()
        if own is None:
            raise DirectoryError(f"{directory.path} was removed from the panel meanwhile.")
        if not own.is_enabled:
            # Test suites delete and make their folders anew, and name the folder that they mean.
            with suppress(OSError):
                accept_folder(own)
        try:
            return sync_directory(own, trigger=trigger, actor=actor)
        except DirectoryBusy:
            if until.has_passed:
                raise
        time.sleep(POLL_SECONDS)


def sync_enabled(*, trigger: str, actor: str, deadline: Deadline) -> tuple[list[SyncResult], list[str]]:
    """Mirror all enabled directories; one that fails does not stop the others.

    Those that were not reached before the deadline come first the next time.

    Returns: What was done in each, and a sentence for each that failed, without an endpoint.
    """
    waiting = SessionDirectory.objects.filter(is_enabled=True).order_by(F("synced_at").asc(nulls_first=True))
    synced, failures = [], []
    for directory in waiting:
        if deadline.has_passed:
            break
        try:
            synced.append(sync_directory(directory, trigger=trigger, actor=actor, deadline=deadline))
        except Exception as error:
            failures.append(safe_message(error))
            logger.warning("%s", failures[-1])
    return synced, failures


def _hold_all(directory: SessionDirectory, result: SyncResult, *, trigger: str, actor: str) -> bool:
    """Hold the loss of all files where an empty folder lies in the place of the registered one.

    Returns: Whether sessions wait for approval, or were kept by a person. Others need no question.
    """
    loss = Loss(sessions_with_files(directory), 0, is_empty=True)
    if directory.is_enabled and loss.gone:
        release_loss(directory, loss, result, trigger=trigger, actor=actor)
    return bool(result.held or result.kept)


def _not_registered(directory: SessionDirectory, failure: NotTheRegisteredFolder) -> str:
    return (
        f"{directory.path} is not the folder that was registered ({failure.strerror}). Is its disk mounted? "
        "Nothing was read or removed. If the folder that is there now is the right one, accept it on the "
        "page of the directory, or with sync_directories PATH --accept-folder."
    )


@retried_when_busy
def _claim(directory: SessionDirectory) -> None:
    """Make the directory ours by compare-and-set; each claim has a number of its own."""
    lapsed = Q(claimed_at=None) | Q(claimed_at__lt=database_now() - CLAIM_LAPSES_AFTER)
    claimed = SessionDirectory.objects.filter(lapsed, pk=directory.pk, sync_number=directory.sync_number)
    if not claimed.update(claimed_at=DatabaseClock(), sync_number=F("sync_number") + 1):
        raise DirectoryBusy(f"A sync of {directory.path} is at work already. Try again when it has ended.")
    directory.sync_number += 1


@retry_with_room
@retried_when_busy
def _release(directory: SessionDirectory, result: SyncResult, error: str) -> None:
    # The next sync may be of the same object: it must know what this one has found.
    directory.error, directory.report = error, result.to_json()
    SessionDirectory.objects.filter(pk=directory.pk, sync_number=directory.sync_number).update(
        claimed_at=None, synced_at=DatabaseClock(), error=error, report=directory.report
    )
