"""Threads and programs save, touch and list sessions through ``SessionManager`` while sweeps run."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from raptor.core.session_manager import SessionManager
from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.mirror.registry import sync_directory
from sessions_app.mirror.sync import Mirror
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria
from sessions_app.session.document import read_document
from tests.stress.census import NAMESPACE, assert_files_match, one_snapshot, reset
from tests.stress.effort import IS_FULL, TRIES
from tests.stress.program import endpoint, old_content, put_file, put_row
from tests.stress.programs import programs

pytestmark = pytest.mark.django_db(transaction=True)

SESSIONS = TRIES // 2
THREADS = 50 if IS_FULL else 10
PROCESSES = 8 if IS_FULL else 3
FILES = 400 if IS_FULL else 40
FILE_THREADS = 8 if IS_FULL else 4
FILE_PROCESSES = 4 if IS_FULL else 2
CHILDREN = 40 if IS_FULL else 5
FORK_THREADS = 4
ANSWER_SECONDS = 1_200 if IS_FULL else 120
SHARED = 20
OLD_OF_NOBODY = 20
STALE = Criteria(expired=True, invalid=True, namespace=NAMESPACE)
Report = dict[str, Any]


class Saved:
    """The reports of savers, and checks of what must exist afterwards."""

    def __init__(self, savers: list[Report]) -> None:
        self.savers = savers
        self.errors = [error for saver in savers for error in saver["errors"]]
        self.aged = {token for saver in savers for token in saver["aged"]}
        self.saves: dict[str, list[tuple[str, int, int]]] = {}
        for saver in savers:
            for name, *save in saver["saves"]:
                self.saves.setdefault(name, []).append(tuple(save))

    def count(self, what: str) -> int:
        return sum(saver[what] for saver in self.savers)

    @property
    def save_count(self) -> int:
        return sum(map(len, self.saves.values()))

    def check_live(self, live: dict[str, BrowserSession], began_at: Any) -> None:
        """Check that each saved name is live, fresh and valid, as of its last save."""
        assert live.keys() == self.saves.keys()
        for name, session in live.items():
            assert session.last_accessed is not None
            assert session.last_accessed >= began_at, "the last access is that of an old session"
            assert not session.problems
            content = read_document(bytes(session.document))
            assert content is not None
            token = content["metadata"]["token"]
            ended = {of: ended_ns for of, _, ended_ns in self.saves[name]}
            assert token in ended, f"{name} holds what nobody has saved: {token}"
            # No save followed it; of overlapping saves of a name, either can be the last.
            assert ended[token] >= max(began_ns for _, began_ns, _ in self.saves[name]), f"{name} lost a save"
            assert content["cdp_url"] == session.cdp_url == endpoint(token)
            assert content["metadata"]["page_url"].endswith(f"/{token}")

    def check_archived(self, archived: list[ArchivedSession]) -> None:
        """Check that only old sessions were archived, and none twice."""
        contents = [read_document(bytes(session.document)) or {} for session in archived]
        tokens = Counter(content["metadata"]["token"] for content in contents)
        assert tokens.keys() <= self.aged, "a session was swept after it had been saved"
        assert max(tokens.values(), default=1) == 1, "a session was archived twice"


def check(saved: Saved, manager: SessionManager, began_at: Any) -> int:
    """Check for errors and lost sessions; return the number of old sessions that the sweeps removed."""
    assert not saved.errors, f"{len(saved.errors)} errors, the first: {saved.errors[0]}"
    with one_snapshot():
        live = list(BrowserSession.objects.all())
        archived = list(ArchivedSession.objects.all())
        runs = list(CleanupRun.objects.all())
    assert not {session.pk for session in live} & {session.pk for session in archived}
    saved.check_live({session.name: session for session in live}, began_at)
    saved.check_archived(archived)
    assert {run.state for run in runs} <= {CleanupRun.State.SUCCEEDED}
    assert sum(run.removed_count for run in runs) == len(archived)
    assert sum(run.removed_bytes for run in runs) == sum(session.size_bytes for session in archived)
    assert manager.list_sessions() == sorted(saved.saves)
    assert manager.get_session_count() == len(live)
    assert manager.get_storage_size() == sum(len(bytes(session.document)) for session in live)
    return len(archived)


def share_out(names: list[str], threads: int, processes: int) -> list[dict[str, list[str]]]:
    """Assign names to savers: one process with many threads, and many processes with one."""
    labels = [f"thread-{n}" for n in range(threads)] + [f"process-{n}" for n in range(processes)]
    own = {label: names[number :: len(labels)] for number, label in enumerate(labels)}
    of_threads = {label: own.pop(label) for label in labels[:threads]}
    return [of_threads, *({label: own[label]} for label in labels[threads:])]


def leave_old(names: list[str], put: Callable[[str, dict[str, Any]], None]) -> set[str]:
    """Replace the names by old sessions: every fourth is invalid, the others are expired."""
    for number, name in enumerate(names):
        put(name, old_content(f"old-{number}", is_invalid=number % 4 == 0))
    return {f"old-{number}" for number in range(len(names))}


def are_running(results: list[Future[Report]], began: float) -> bool:
    """Return whether a program is running; fail if one hangs."""
    assert time.monotonic() < began + ANSWER_SECONDS, "the programs do not end"
    return not all(result.done() for result in results)


def sweep_slowly(chance: random.Random) -> int:
    """Sweep with a pause between plan and run; return how many sessions changed in it."""
    time.sleep(0.01)
    if not BrowserSession.objects.filter(STALE.matching(database_now())).exists():
        return 0
    plan = plan_cleanup(STALE, trigger="schedule")
    time.sleep(chance.uniform(0, 0.05))
    return run_cleanup(plan, batch_size=chance.choice((1, 3, 10))).skipped_count


def test_threads_and_programs_save_touch_and_list_while_sweeps_run(
    tmp_path: Path, chance: random.Random, note: Callable[[str], None]
) -> None:
    reset()
    began_at = timezone.now()
    names = [f"session-{number:04}" for number in range(SESSIONS)]
    shared = [f"shared-{number:02}" for number in range(SHARED)]
    of_nobody = [f"left-{number:02}" for number in range(OLD_OF_NOBODY)]
    old = leave_old(
        [*of_nobody, *shared, *chance.sample(names, SESSIONS // 4)],
        lambda name, content: put_row(NAMESPACE, name, content),
    )
    skipped = 0
    with programs(tmp_path, chance.random()) as started:
        manager = {"namespace": NAMESPACE}
        lots = share_out(names, THREADS, PROCESSES)
        savers = [started.add("save", manager, savers=lot, shared=shared) for lot in lots]
        sweeper = started.add("sweep", manager)
        started.begin()
        began = time.monotonic()
        results = [started.result(program) for program in savers]
        while are_running(results, began):
            skipped += sweep_slowly(chance)
        seconds = time.monotonic() - began
        saved = Saved([saver for result in results for saver in result.result()["savers"]])
        swept = sweeper.result()
    assert not swept["errors"], swept["errors"][0]
    saved.aged |= old
    run_cleanup(plan_cleanup(STALE, trigger="schedule"))
    taken = check(saved, SessionManager(namespace=NAMESPACE), began_at)
    note(
        f"{THREADS} threads and {PROCESSES} processes saved {len(saved.saves):,} sessions "
        f"{saved.save_count:,} times, touched them {saved.count('touches'):,} times and listed them "
        f"{saved.count('lists'):,} times in {seconds:.0f} s; of {len(saved.aged):,} old ones {taken:,} were "
        f"swept, {swept['removed']:,} by {swept['sweeps']:,} sweeps of a manager; {skipped:,} were saved, or "
        "taken by that other sweeper, between plan and run"
    )
    assert skipped, "the sweeps were to race with the saves"
    assert taken > OLD_OF_NOBODY


def test_threads_and_programs_share_a_folder_while_sweeps_run(
    tmp_path: Path, chance: random.Random, note: Callable[[str], None]
) -> None:
    reset()
    began_at = timezone.now()
    folder, var_dir = tmp_path / "shared" / "sessions", tmp_path / "var"
    folder.mkdir(parents=True)
    names = [f"session-{number:04}" for number in range(FILES)]
    shared = [f"shared-{number}" for number in range(FILES // 10)]
    of_nobody = [f"left-{number:02}" for number in range(OLD_OF_NOBODY)]
    old = leave_old(
        [*of_nobody, *shared, *chance.sample(names, FILES // 4)],
        lambda name, content: put_file(folder, name, content),
    )
    reads = 0
    with programs(var_dir, chance.random()) as started:
        place = {"storage_dir": str(folder)}
        lots = share_out(names, FILE_THREADS, FILE_PROCESSES)
        savers = [started.add("save", place, savers=lot, shared=shared) for lot in lots]
        sweeper = started.add("sweep", place)
        started.begin()
        began = time.monotonic()
        results = [started.result(program) for program in savers]
        while are_running(results, began):
            reads += read_all(folder)
            time.sleep(0.01)
        seconds = time.monotonic() - began
        saved = Saved([saver for result in results for saver in result.result()["savers"]])
        swept = sweeper.result()
    assert not swept["errors"], swept["errors"][0]
    saved.aged |= old
    manager = SessionManager(storage_dir=folder)
    manager.cleanup_expired_sessions()
    manager.cleanup_invalid_sessions()
    taken = check(saved, manager, began_at)
    assert_files_match(SessionDirectory.objects.get(), folder)
    assert {path.name for path in folder.iterdir()} == {f"{name}.json" for name in saved.saves}
    assert list(folder.parent.iterdir()) == [folder]
    note(
        f"{FILE_THREADS} threads and {FILE_PROCESSES} processes saved {len(saved.saves):,} files "
        f"{saved.save_count:,} times, touched them {saved.count('touches'):,} times and listed them "
        f"{saved.count('lists'):,} times in {seconds:.0f} s; of {len(saved.aged):,} old ones {taken:,} were "
        f"swept, {swept['removed']:,} by {swept['sweeps']:,} sweeps; {reads:,} reads found whole "
        "documents"
    )


def read_all(folder: Path) -> int:
    """Read each document, as another program does; ignore documents that were removed."""
    count = 0
    for path in folder.glob("*.json"):
        with suppress(FileNotFoundError):
            assert json.loads(path.read_bytes())["metadata"]["token"]
            count += 1
    return count


@pytest.mark.parametrize("has_folder", [False, True], ids=["database", "folder"])
def test_a_program_that_forks_while_its_threads_save_works_in_parent_and_children(
    has_folder: bool, tmp_path: Path, chance: random.Random, note: Callable[[str], None]
) -> None:
    reset()
    began_at = timezone.now()
    place: dict[str, Any] = (
        {"storage_dir": str(tmp_path / "sessions")} if has_folder else {"namespace": NAMESPACE}
    )
    with programs(tmp_path / "var", chance.random()) as started:
        program = started.add("fork", place, children=CHILDREN, threads=FORK_THREADS)
        started.begin()
        outcome = started.result(program).result(ANSWER_SECONDS)
    assert set(outcome["exit_codes"]) == {0}, outcome["exit_codes"]
    saved = Saved(outcome["savers"])
    check(saved, SessionManager(**place), began_at)
    note(f"{CHILDREN} children forked while {FORK_THREADS} threads saved {saved.save_count:,} times")


def put_new(directory: SessionDirectory, name: str) -> BrowserSession:
    """Return the session of a file that a manager has just saved."""
    return BrowserSession.objects.create(
        namespace=directory.namespace, name=name, directory=directory, file_name=f"{name}.json"
    )


def test_a_sync_skips_sessions_that_are_saved_during_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset()
    manager = SessionManager(storage_dir=tmp_path)
    directory = SessionDirectory.objects.get()
    for name in ("first", "second", "third"):
        put_file(tmp_path, name, old_content(name, is_invalid=False))
    saved = iter(("first", "second"))
    insert = Mirror._insert

    def insert_late(mirror: Mirror, lot: list[Any]) -> None:
        if name := next(saved, ""):
            Mirror._update(mirror, {f"{name}.json": put_new(directory, name).pk})
        insert(mirror, lot)

    monkeypatch.setattr(Mirror, "_insert", insert_late)
    result = sync_directory(directory, trigger="command")
    assert (result.added, result.skipped) == (1, [])
    assert manager.list_sessions() == ["first", "second", "third"]
