"""Registers session directories and syncs the database with them, one sync of each at a time."""

from __future__ import annotations

import hashlib
import logging
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import F, Q

from sessions_app.cleanup.folders import NotTheRegisteredFolder, accept_folder, open_folder
from sessions_app.deadline import Deadline
from sessions_app.mirror.arrivals import inspect_folder, protect_foreign, restore_directory
from sessions_app.mirror.heartbeats import renewing_claim
from sessions_app.mirror.sync import ClaimLost, Mirror
from sessions_app.mirror.vanished import Loss, release_loss, sessions_with_files
from sessions_app.models import DatabaseClock, Machine, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.models.fields import NAMESPACE_LENGTH, PATH_LENGTH
from sessions_app.queue.machines import ADOPTED_AFTER, heard_machines
from sessions_app.session.files import SessionFolder
from sessions_app.session.masking import safe_message
from sessions_app.session.sync_result import SyncResult
from sessions_app.text import manage_command
from sessions_app.transactions import retried_when_busy, retry_when_busy
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import retry_with_room

logger = logging.getLogger(__name__)

WAIT_SECONDS = 60
POLL_SECONDS = 0.02
CLAIM_LAPSES_AFTER = timedelta(seconds=20)
"""A running sync renews its claim (``heartbeats``). The claim of a killed sync lapses after this time."""


class DirectoryError(Exception):
    """A directory cannot be registered or mirrored; the message gives the reason and what to do."""


class DirectoryBusy(DirectoryError):
    """Another sync of the directory is running."""


def register_directory(path: str | Path, *, namespace: str = "", is_enabled: bool = True) -> SessionDirectory:
    """Register a folder to be mirrored, or return its directory if it is registered already.

    Args:
        namespace: Namespace of its sessions; ``RAPTOR_NAMESPACE`` if blank.
        is_enabled: Whether the schedule mirrors it once a minute.
    Raises: DirectoryError: the path is not a folder, or is mirrored into another namespace.
    """
    try:
        folder = Path(path).expanduser().resolve()
        str(folder).encode()
    except (RuntimeError, UnicodeEncodeError, OSError, ValueError):
        # An unknown user, a loop of links, bytes that are not UTF-8, or a NUL.
        raise DirectoryError(f"{str(path)!r} is not a path that can be registered.") from None
    check_namespace(namespace)
    if not folder.is_dir():
        raise DirectoryError(f"{folder} is not a folder on this machine. Check the path.")
    if len(str(folder)) > PATH_LENGTH:
        raise DirectoryError(f"A path of more than {PATH_LENGTH:,} characters cannot be registered.")
    values = {
        "namespace": namespace or settings.RAPTOR_NAMESPACE,
        "is_enabled": is_enabled,
        **place_of(folder, is_enabled=is_enabled),
    }
    directory, is_new = retry_when_busy(
        lambda: SessionDirectory.objects.get_or_create(path=str(folder), defaults=values)
    )
    if not is_new and namespace and directory.namespace != namespace:
        raise DirectoryError(
            f"{folder} is mirrored into the namespace {directory.namespace}, not {namespace}. "
            "Use that namespace, or none."
        )
    restore_directory(directory)
    return directory


def register_own_folder(folder: Path, namespace: str) -> SessionDirectory:
    """Register the folder of a ``SessionManager``, and create it if it is new.

    The directory is not enabled: the schedule does not mirror it, a recreated folder is accepted, and a
    loss of files needs no approval, because users of a manager expect a deleted file to be gone at once.

    Raises: DirectoryError, OSError: the folder cannot be used.
    """
    known = SessionDirectory.objects.filter(path=str(folder)).first()
    if known is not None and namespace in ("", known.namespace):
        # Do not recreate a missing folder: all sessions of an unmounted disk would count as removed.
        return known
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Different folders contain files with the same names, so each folder has its own namespace.
    own = f"{folder.name[:60]}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    directory = register_directory(folder, namespace=namespace or own, is_enabled=False)
    if known is None:
        found = inspect_folder(directory)
        logger.info("%s is registered: %s", folder, found.describe())
        if warning := found.warning():
            logger.warning("%s: %s", folder, warning)
    return directory


def place_of(folder: str | Path, *, is_enabled: bool) -> dict[str, int | str]:
    """Return the columns that identify a folder on this machine, and its machine.

    If no worker runs here, the first worker that finds the folder mirrors it.
    """
    has_worker = not is_enabled or Machine.objects.filter(name=settings.RAPTOR_MACHINE).exists()
    return {"machine": settings.RAPTOR_MACHINE if has_worker else "", **identity_of(folder)}


def identity_of(folder: str | Path) -> dict[str, int]:
    """Return the columns that identify a folder; empty if it cannot be opened."""
    try:
        with SessionFolder(folder) as opened:
            return dict(zip(("device", "inode"), opened.identity, strict=True))
    except OSError:
        return {}


def accept_other_folder(directory: SessionDirectory) -> bool:
    """Accept the folder that is at the path of a directory now as the registered one.

    Returns: Whether it differs from the folder that was registered before.
    Raises: DirectoryError: there is no folder, or it cannot be read.
    """
    try:
        return accept_folder(directory)
    except OSError as failure:
        raise DirectoryError(f"{directory.path} cannot be accepted: {failure.strerror}.") from None


def check_namespace(namespace: str) -> None:
    """Validate a namespace.

    Raises: DirectoryError: the namespace is too long or contains invisible characters.
    """
    if len(namespace) > NAMESPACE_LENGTH or namespace != namespace.strip() or not namespace.isprintable():
        raise DirectoryError(
            f"A namespace has at most {NAMESPACE_LENGTH} visible characters, without spaces at either end."
        )


def sync_directory(
    directory: SessionDirectory,
    *,
    trigger: str,
    actor: str = "",
    deadline: Deadline | None = None,
    progress: Callable[[int], None] = lambda files: None,
) -> SyncResult:
    """Sync the sessions of a directory with its files.

    Args:
        trigger, actor: What and who the history names for sessions whose files have vanished.
        deadline: Instant after which no further batch starts; the next sync continues.
        progress: Called with the number of files just read.
    Raises: DirectoryError: the folder cannot be read, or another sync of it is running; no row was changed.
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
            reason = f"{directory.path} cannot be read: {failure.strerror}. Its sessions were not changed."
            raise DirectoryError(disk_full_message(failure, folder=directory.path) or reason) from None
        except ClaimLost:
            raise DirectoryBusy(f"Another sync of {directory.path} has taken over from this one.") from None
    except Exception as failure:
        error = safe_message(failure)
        raise
    finally:
        _release(directory, result, error)
    return result


def sync_when_free(directory: SessionDirectory, *, trigger: str, actor: str) -> SyncResult:
    """Sync a directory; if another sync is running, wait for its end first.

    The other sync may have listed the folder before the caller wrote a file.

    Raises: DirectoryError: see ``sync_directory``; or the directory is no longer registered.
    """
    until = Deadline.after(WAIT_SECONDS)
    while True:
        # Fetch a new object, because threads that share one would overwrite each other's claims.
        own = SessionDirectory.objects.filter(pk=directory.pk).first()
        if own is None:
            raise DirectoryError(f"{directory.path} is no longer registered in the panel.")
        if not own.is_enabled:
            # Test suites recreate their folders, and the manager was given this path explicitly.
            with suppress(OSError):
                accept_folder(own)
        try:
            return sync_directory(own, trigger=trigger, actor=actor)
        except DirectoryBusy:
            if until.has_passed:
                raise
        time.sleep(POLL_SECONDS)


def sync_enabled(*, trigger: str, actor: str, deadline: Deadline) -> tuple[list[SyncResult], list[str]]:
    """Sync all enabled directories of this machine, the least recently synced first; continue after failures.

    Returns: The result of each sync, and for each failure a message without endpoints.
    """
    enabled = SessionDirectory.objects.mirrored()
    heard = _other_machines()
    # The folder of a silent machine may be on this machine: a container may get a new name at each start.
    waiting = enabled.exclude(machine__in=heard).order_by(F("synced_at").asc(nulls_first=True))
    synced, failures = [], []
    for directory in waiting:
        if deadline.has_passed:
            break
        if not _adopt(directory, is_alone=not heard):
            continue
        try:
            synced.append(sync_directory(directory, trigger=trigger, actor=actor, deadline=deadline))
        except Exception as error:
            failures.append(safe_message(error))
            logger.warning("%s", failures[-1])
    return synced, failures


def _other_machines() -> list[str]:
    """Return the other machines with a recent heartbeat."""
    heard = heard_machines(database_now(), within=ADOPTED_AFTER)
    return list(heard.exclude(name=settings.RAPTOR_MACHINE).values_list("name", flat=True))


def _adopt(directory: SessionDirectory, *, is_alone: bool) -> bool:
    """Let this machine mirror a directory; return whether it does.

    Args:
        is_alone: Whether there is no other worker that could find the folder. A missing folder is then an
            error.
    """
    if directory.machine == settings.RAPTOR_MACHINE:
        return True
    if directory.machine or not is_alone:
        try:
            open_folder(directory).close()
        except OSError:
            return False
    same = SessionDirectory.objects.filter(pk=directory.pk, machine=directory.machine)
    directory.machine = settings.RAPTOR_MACHINE
    return bool(retry_when_busy(lambda: same.update(machine=settings.RAPTOR_MACHINE)))


def _hold_all(directory: SessionDirectory, result: SyncResult, *, trigger: str, actor: str) -> bool:
    """Hold the loss of all files if an empty folder is at the path of the registered one.

    Returns: Whether sessions need approval or were kept by a person.
    """
    loss = Loss(sessions_with_files(directory), 0, is_empty=True)
    if directory.is_enabled and loss.gone:
        release_loss(directory, loss, result, trigger=trigger, actor=actor)
    return bool(result.held or result.kept)


def _not_registered(directory: SessionDirectory, failure: NotTheRegisteredFolder) -> str:
    accept = shlex.join(("sync_directories", directory.path, "--accept-folder"))
    return (
        f"{directory.path} is not the folder that was registered ({failure.strerror}). Is its disk mounted? "
        "Nothing was read or removed. If the current folder is the right one, accept it on the page of the "
        f"directory, or with {manage_command(accept)}"
    )


@retried_when_busy
def _claim(directory: SessionDirectory) -> None:
    """Claim a directory by compare-and-set; each claim has its own number."""
    lapsed = Q(claimed_at=None) | Q(claimed_at__lt=database_now() - CLAIM_LAPSES_AFTER)
    claimed = SessionDirectory.objects.filter(lapsed, pk=directory.pk, sync_number=directory.sync_number)
    if not claimed.update(claimed_at=DatabaseClock(), sync_number=F("sync_number") + 1):
        raise DirectoryBusy(f"A sync of {directory.path} is already running. Try again when it has ended.")
    directory.sync_number += 1


@retry_with_room
@retried_when_busy
def _release(directory: SessionDirectory, result: SyncResult, error: str) -> None:
    # The next sync may use the same object and reads the report of this one.
    directory.error, directory.report = error, result.to_json()
    SessionDirectory.objects.filter(pk=directory.pk, sync_number=directory.sync_number).update(
        claimed_at=None, synced_at=DatabaseClock(), error=error, report=directory.report
    )
