"""Which machine probes a session, and which sessions are probed next."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sessions_app.cleanup import undo_cleanup
from sessions_app.liveness import ANY_MACHINE, enrol_sessions, machine_of, reassign_forgotten
from sessions_app.liveness.due import due_targets
from sessions_app.models import Machine, Probe
from sessions_app.models.clock import database_now
from tests.factories import ENDPOINT, make_session, swept

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
FAR = "ws://grid.example:9222/devtools/browser/x"


def announce(*names: str) -> None:
    for name in names:
        Machine.objects.create(name=name, heartbeat_at=database_now())


def due(machine: str = ANY_MACHINE, *, limit: int = 100) -> list[int]:
    return [one.pk for one in due_targets(machine, database_now(), limit=limit)]


@pytest.mark.parametrize(
    ("endpoint", "directory", "claimed", "announced", "expected"),
    [
        (ENDPOINT, "runner-1", "runner-2", ("runner-1", "runner-2"), "runner-1"),
        (ENDPOINT, "", "runner-2", ("runner-1", "runner-2"), "runner-2"),
        (ENDPOINT, None, "unheard", ("runner-1", "runner-2"), None),
        (ENDPOINT, None, None, ("runner-1",), "runner-1"),
        (ENDPOINT, None, "unheard", ("runner-1",), None),
        (ENDPOINT, None, None, ("runner-1", "runner-2"), None),
        ("http://localhost:9222", None, None, ("runner-1",), "runner-1"),
        ("http://[::1]:9222", None, None, ("runner-1",), "runner-1"),
        ("http://0.0.0.0:9222", None, None, ("runner-1",), "runner-1"),
        (FAR, None, None, ("runner-1", "runner-2"), ANY_MACHINE),
        (FAR, "runner-1", None, ("runner-1", "runner-2"), "runner-1"),
        (ENDPOINT, "unheard", "runner-1", ("runner-1",), None),
        (FAR, None, "runner-2", ("runner-2",), "runner-2"),
    ],
)
def test_the_machine_comes_from_the_directory_then_the_manager_then_the_host(
    endpoint: str,
    directory: str | None,
    claimed: str | None,
    announced: tuple[str, ...],
    expected: str | None,
) -> None:
    found = machine_of(endpoint, directory_machine=directory, claimed=claimed, announced=announced)
    assert found == expected


def test_the_manager_names_its_machine_in_the_document() -> None:
    session = make_session(metadata={"raptor_admin": {"machine": "runner-1"}})
    assert session.machine == "runner-1"
    hashed_id_of_earlier_versions = "0123456789abcdef"
    for claimed in (3, "", "m" * 65, None, ["runner-1"], hashed_id_of_earlier_versions):
        assert make_session(metadata={"raptor_admin": {"machine": claimed}}).machine is None


def test_a_new_session_is_due_at_once_on_its_machine() -> None:
    announce("runner-1", "runner-2")
    here = make_session(metadata={"raptor_admin": {"machine": "runner-1"}})
    far = make_session(cdp_url=FAR)
    assert enrol_sessions(database_now()) == 2
    assert enrol_sessions(database_now()) == 0
    assert (due("runner-1"), due("runner-2"), due()) == ([here.pk], [], [far.pk])


def test_the_longest_overdue_sessions_come_first() -> None:
    sessions = [make_session(cdp_url=FAR) for _ in range(3)]
    enrol_sessions(database_now())
    for hours, session in zip((1, 3, 2), sessions, strict=True):
        Probe.objects.filter(pk=session.pk).update(due_at=database_now() - hours * HOUR)
    late = make_session(cdp_url=FAR)
    enrol_sessions(database_now())
    Probe.objects.filter(pk=late.pk).update(due_at=database_now() + HOUR)
    first, second, third = (session.pk for session in sessions)
    assert due() == [second, third, first]
    assert due(limit=1) == [second]


def test_the_probe_of_a_removed_session_is_deleted_and_a_restored_session_is_due() -> None:
    session = make_session(cdp_url=FAR, last_accessed="2026-10-01T12:00:00+00:00")
    other = make_session(cdp_url=FAR)
    enrol_sessions(database_now())
    run = swept(expired=True)
    assert due() == [other.pk]
    assert not Probe.objects.filter(pk=session.pk).exists()
    undo_cleanup(run, actor="root")
    assert enrol_sessions(database_now()) == 0
    assert session.pk not in due()
    assert enrol_sessions(database_now(), is_complete=True) == 1
    assert session.pk in due()


def test_sessions_are_handed_over_when_their_machine_is_announced_or_forgotten() -> None:
    announce("runner-1", "runner-2")
    session = make_session(metadata={"raptor_admin": {"machine": "runner-3"}})
    enrol_sessions(database_now())
    assert due() == [session.pk]
    announce("runner-3")
    assert due() == []
    assert due("runner-3") == [session.pk]
    Machine.objects.filter(name="runner-3").delete()
    reassign_forgotten()
    assert due() == [session.pk]
