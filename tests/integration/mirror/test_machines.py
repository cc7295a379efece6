"""Directories on several machines: each is mirrored by the worker on the machine with the folder."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.deadline import Deadline
from sessions_app.mirror.registry import register_directory, sync_enabled
from sessions_app.models import Machine, SessionDirectory
from sessions_app.models.clock import database_now
from tests.factories import OLD, archived, live, names_in, plan, put

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def here(settings: Any) -> None:
    settings.RAPTOR_MACHINE = "here"
    settings.RAPTOR_SETTLE_SECONDS = 0


def announce(name: str, *, silent_for: timedelta = timedelta()) -> None:
    Machine.objects.update_or_create(name=name, defaults={"heartbeat_at": database_now() - silent_for})


@pytest.fixture
def directory(tmp_path: Path) -> SessionDirectory:
    announce("here")
    announce("there")
    put(tmp_path / "sessions", "old", **OLD)
    return register_directory(tmp_path / "sessions", namespace="shop")


def sync_here() -> tuple[int, list[str]]:
    synced, failures = sync_enabled(trigger="schedule", actor="test", deadline=Deadline())
    return len(synced), failures


def move_to(directory: SessionDirectory, machine: str, *, path: str | None = None) -> None:
    SessionDirectory.objects.filter(pk=directory.pk).update(machine=machine, path=path or directory.path)


def test_a_directory_belongs_to_the_machine_that_registers_it(directory: SessionDirectory) -> None:
    assert directory.machine == "here"
    assert sync_here() == (1, [])


def test_without_a_local_worker_the_first_worker_that_finds_the_folder_mirrors_it(tmp_path: Path) -> None:
    announce("there")
    folder = put(tmp_path / "sessions", "one").parent
    assert register_directory(folder, namespace="shop").machine == ""
    assert sync_here() == (1, [])
    assert SessionDirectory.objects.get().machine == "here"


def test_the_worker_of_another_machine_does_not_mirror_the_directory(directory: SessionDirectory) -> None:
    move_to(directory, "there")
    assert sync_here() == (0, [])
    assert live() == []


def test_a_folder_that_does_not_exist_here_is_not_adopted(
    directory: SessionDirectory, tmp_path: Path
) -> None:
    move_to(directory, "", path=str(tmp_path / "elsewhere"))
    assert sync_here() == (0, [])
    (tmp_path / "elsewhere").mkdir()
    assert sync_here() == (0, []), "another folder is at the path"
    assert SessionDirectory.objects.get().machine == ""


def test_on_a_single_machine_a_missing_folder_is_an_error(
    directory: SessionDirectory, tmp_path: Path
) -> None:
    Machine.objects.filter(name="there").delete()
    move_to(directory, "", path=str(tmp_path / "elsewhere"))
    count, failures = sync_here()
    assert count == 0
    assert "cannot be read" in failures[0]


@pytest.mark.parametrize(("silent_minutes", "is_adopted"), [(9, False), (11, True)])
def test_the_folder_of_a_renamed_machine_is_adopted(
    directory: SessionDirectory, silent_minutes: int, is_adopted: bool
) -> None:
    announce("third")
    announce("there", silent_for=timedelta(minutes=silent_minutes))
    move_to(directory, "there")
    assert sync_here() == (int(is_adopted), [])
    assert SessionDirectory.objects.get().machine == ("here" if is_adopted else "there")


def test_after_a_cleanup_on_another_machine_the_worker_of_the_folder_removes_the_file(
    directory: SessionDirectory, tmp_path: Path, settings: Any
) -> None:
    sync_here()
    path = directory.path
    settings.RAPTOR_MACHINE = "there"
    move_to(directory, "here", path=str(tmp_path / "not-there"))
    run = run_cleanup(plan(expired=True))
    assert (run.error, archived(), names_in(tmp_path / "sessions")) == ("", ["old"], ["old"])
    settings.RAPTOR_MACHINE = "here"
    move_to(directory, "here", path=path)
    sync_here()
    assert names_in(tmp_path / "sessions") == []
    settings.RAPTOR_MACHINE = "there"
    move_to(directory, "here", path=str(tmp_path / "not-there"))
    undo_cleanup(run, actor="root")
    assert (live(), names_in(tmp_path / "sessions")) == (["old"], [])
    assert SessionDirectory.objects.get().write_error == ""
    settings.RAPTOR_MACHINE = "here"
    move_to(directory, "here", path=path)
    sync_here()
    assert names_in(tmp_path / "sessions") == ["old"]


def test_a_directory_stays_with_a_silent_machine_if_no_other_machine_has_the_folder(
    directory: SessionDirectory, tmp_path: Path
) -> None:
    announce("there", silent_for=timedelta(minutes=11))
    move_to(directory, "there", path=str(tmp_path / "only-there"))
    assert sync_here() == (0, [])
    assert SessionDirectory.objects.get().machine == "there"
