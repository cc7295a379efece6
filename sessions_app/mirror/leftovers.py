"""Removes files of archived sessions that a cleanup could not remove or was killed before removing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sessions_app.mirror.observations import Observations
from sessions_app.models import ArchivedSession, BrowserSession, SessionDirectory
from sessions_app.session.files import FileStamp, SessionFolder, stamp_of
from sessions_app.session.removals import Outcome, owner_id_of, remove, settle
from sessions_app.session.sync_result import SyncResult
from sessions_app.transactions import disk

DOCUMENTS_AT_ONCE = 50


def finish_interrupted_removals(
    directory: SessionDirectory, folder: SessionFolder, observations: Observations, result: SyncResult
) -> dict[str, FileStamp]:
    """Finish the removals that stopped between the renaming of a file and its unlinking.

    Returns: The files that must stay aside until they have not changed for the settle time.
    """
    unsure = {}
    for aside in folder.left_aside:
        owner_id = owner_id_of(aside)
        if owner_id is None:
            continue
        try:
            stamp = folder.stamp(aside)
            outcome = _settle(
                directory, folder, aside, owner_id, is_settled=observations.is_settled(aside, stamp)
            )
        except FileNotFoundError:
            continue
        except OSError as error:
            result.skip(aside, f"was cleaned up, but cannot be removed: {disk.reason(error)}")
            continue
        if outcome.is_aside:
            unsure[aside] = stamp
        else:
            _count(outcome, result)
    return unsure


def _settle(
    directory: SessionDirectory, folder: SessionFolder, aside: str, owner_id: int, *, is_settled: bool
) -> Outcome:
    owner: ArchivedSession | BrowserSession | None = (
        ArchivedSession.objects.filter(directory=directory, pk=owner_id).first()
        # A session that was restored since gets its file from its row.
        or BrowserSession.objects.filter(directory=directory, pk=owner_id).first()
    )
    if owner is None:
        return settle(folder, aside, "", None, is_settled=is_settled)
    return settle(folder, aside, owner.file_name, owner.document, is_settled=is_settled)


def finish_killed_removals(
    directory: SessionDirectory, folder: SessionFolder, names: Sequence[str], result: SyncResult
) -> Sequence[str]:
    """Remove the files of sessions that a cleanup archived before it was killed; return the other names.

    The stamp includes the ctime, so a file that a user put back differs and is added as a new session.
    """
    removed = ArchivedSession.objects.filter(directory=directory, has_vanished=False)
    # Query this for each batch, after the known files were read, because a cleanup may be running.
    if not removed.exists():
        return names
    unchanged: defaultdict[str, list[ArchivedSession]] = defaultdict(list)
    for session in removed.filter(file_name__in=names):
        stamp = stamp_of(session)
        if stamp is not None and folder.is_unchanged(session.file_name, stamp):
            unchanged[session.file_name].append(session)
    gone: set[str] = set()
    for session in _with_documents(sessions[0] for sessions in unchanged.values()):
        try:
            if _finish_removal(folder, session, result):
                gone.add(session.file_name)
        except OSError as error:
            gone.add(session.file_name)
            result.skip(session.file_name, f"was cleaned up, but cannot be removed: {disk.reason(error)}")
    return [name for name in names if name not in gone]


def _with_documents(sessions: Iterable[ArchivedSession]) -> Iterable[ArchivedSession]:
    ids = [session.pk for session in sessions]
    for start in range(0, len(ids), DOCUMENTS_AT_ONCE):
        chunk = ids[start : start + DOCUMENTS_AT_ONCE]
        yield from ArchivedSession.objects.filter(pk__in=chunk).select_related("content")


def _finish_removal(folder: SessionFolder, session: ArchivedSession, result: SyncResult) -> bool:
    stamp = stamp_of(session)
    if stamp is None:
        return False
    document = session.document
    outcome = remove(folder, session.file_name, stamp, document, owner_id=session.pk)
    _count(outcome, result)
    return outcome.is_gone


def _count(outcome: Outcome, result: SyncResult) -> None:
    result.left_behind += outcome.is_gone
    if outcome.recovered_as:
        result.skip(outcome.recovered_as, "was written during a removal and is kept under this name")
