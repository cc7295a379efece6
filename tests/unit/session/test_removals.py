"""Removing files, and keeping those that do not have the archived bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessions_app.session import removals
from sessions_app.session.files import FileStamp, SessionFolder
from sessions_app.session.removals import owner_id_of, remove, settle
from tests.places import refuse_links

ASIDE = ".removing-1-0123abcd"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[SessionFolder]:
    with SessionFolder(tmp_path) as folder:
        yield folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    return path


def stamp(path: Path) -> FileStamp:
    return FileStamp.of(path.lstat())


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def test_a_file_that_holds_the_document_is_removed(folder: SessionFolder, path: Path, tmp_path: Path) -> None:
    assert remove(folder, "a.json", stamp(path), b"{}", owner_id=1).is_gone
    assert contents(tmp_path) == {}


def test_a_file_that_is_gone_counts_as_removed(folder: SessionFolder, path: Path) -> None:
    known = stamp(path)
    path.unlink()
    assert remove(folder, "a.json", known, b"{}", owner_id=1).is_gone


@pytest.mark.parametrize("change", ["rewritten", "replaced", "copied back"])
def test_another_file_in_the_place_is_kept(
    folder: SessionFolder, path: Path, tmp_path: Path, change: str
) -> None:
    known, status = stamp(path), path.stat()
    if change == "rewritten":
        path.write_bytes(b"[]")
    elif change == "replaced":
        folder.write("a.json", b"{}")
    else:
        path.unlink()
        path.write_bytes(b"{}")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not remove(folder, "a.json", known, b"{}", owner_id=1).is_gone
    assert list(contents(tmp_path)) == ["a.json"]


def test_other_bytes_under_the_same_stamp_are_put_back(
    folder: SessionFolder, path: Path, tmp_path: Path
) -> None:
    assert not remove(folder, "a.json", stamp(path), b"[]", owner_id=1).is_gone
    assert contents(tmp_path) == {"a.json": b"{}"}


def test_a_file_that_a_process_has_open_for_writing_is_put_back(
    folder: SessionFolder, path: Path, tmp_path: Path
) -> None:
    with path.open("ab") as writer:
        assert not remove(folder, "a.json", stamp(path), b"{}", owner_id=1).is_gone
        writer.write(b" ")
    assert contents(tmp_path) == {"a.json": b"{} "}


def before_rename(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    rename = os.rename

    def act_first(*args: object, **kwargs: object) -> None:
        monkeypatch.undo()
        action()
        rename(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", act_first)


def test_a_file_replaced_between_look_and_removal_is_put_back(
    folder: SessionFolder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = stamp(path)
    before_rename(monkeypatch, lambda: folder.write("a.json", b"new"))
    assert not remove(folder, "a.json", known, b"{}", owner_id=1).is_gone
    assert contents(tmp_path) == {"a.json": b"new"}


def test_bytes_of_the_same_size_and_mtime_written_before_the_rename_are_put_back(
    folder: SessionFolder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, status = stamp(path), path.stat()

    def write_unnoticed() -> None:
        path.write_bytes(b"[]")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    before_rename(monkeypatch, write_unnoticed)
    assert not remove(folder, "a.json", known, b"{}", owner_id=1).is_gone
    assert contents(tmp_path) == {"a.json": b"[]"}


def test_a_file_left_aside_by_a_crash_is_not_replaced(
    folder: SessionFolder, path: Path, tmp_path: Path
) -> None:
    (tmp_path / ".removing-1").write_bytes(b"left")
    assert remove(folder, "a.json", stamp(path), b"{}", owner_id=1).is_gone
    assert contents(tmp_path) == {".removing-1": b"left"}


def test_bytes_replaced_by_a_newer_file_get_a_visible_name(
    folder: SessionFolder, path: Path, tmp_path: Path
) -> None:
    (tmp_path / ASIDE).write_bytes(b"newer")
    path.write_bytes(b"newest")
    outcome = settle(folder, ASIDE, "a.json", b"{}", is_settled=True)
    assert not outcome.is_gone
    assert outcome.recovered_as.startswith("a.recovered-")
    assert contents(tmp_path) == {"a.json": b"newest", outcome.recovered_as: b"newer"}


@pytest.mark.parametrize("twin", ["the same bytes", "the same file"])
def test_bytes_that_are_already_in_place_are_kept_once(
    folder: SessionFolder, path: Path, tmp_path: Path, twin: str
) -> None:
    if twin == "the same bytes":
        (tmp_path / ASIDE).write_bytes(b"{}")
    else:
        os.link(path, tmp_path / ASIDE)
    assert settle(folder, ASIDE, "a.json", None, is_settled=True).recovered_as == ""
    assert contents(tmp_path) == {"a.json": b"{}"}


def test_a_file_aside_that_no_session_claims_becomes_visible(folder: SessionFolder, tmp_path: Path) -> None:
    (tmp_path / ASIDE).write_bytes(b"{}")
    outcome = settle(folder, ASIDE, "", None, is_settled=True)
    assert outcome.recovered_as.startswith("session-1.recovered-")
    assert contents(tmp_path) == {outcome.recovered_as: b"{}"}


def test_a_file_settled_by_another_process_counts_as_removed(folder: SessionFolder) -> None:
    assert settle(folder, ASIDE, "a.json", b"{}", is_settled=True).is_gone


@pytest.mark.parametrize("can_rename", [True, False], ids=["renameat2", "plain rename"])
def test_a_file_that_is_being_written_is_put_back_without_hard_links(
    folder: SessionFolder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_rename: bool
) -> None:
    refuse_links(monkeypatch)
    if not can_rename:
        monkeypatch.setattr(removals, "_renameat2", None)
    inode = path.stat().st_ino
    with path.open("ab") as writer:
        assert not remove(folder, "a.json", stamp(path), b"{}", owner_id=1).is_gone
        writer.write(b" ")
    assert contents(tmp_path) == {"a.json": b"{} "}
    assert path.stat().st_ino == inode
    (tmp_path / ASIDE).write_bytes(b"newer")
    outcome = settle(folder, ASIDE, "a.json", None, is_settled=True)
    assert contents(tmp_path) == {"a.json": b"{} ", outcome.recovered_as: b"newer"}


def test_a_file_waits_aside_if_its_writers_are_unknown(
    folder: SessionFolder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_knows_writers", False)
    outcome = remove(folder, "a.json", stamp(path), b"{}", owner_id=1)
    assert (outcome.is_gone, outcome.is_aside) == (True, True)
    (aside,) = contents(tmp_path)
    assert settle(folder, aside, "a.json", b"{}", is_settled=False).is_aside
    assert settle(folder, aside, "a.json", b"{}", is_settled=True).is_gone
    assert contents(tmp_path) == {}


def test_a_long_name_is_shortened_for_the_suffix_of_recovered_bytes(
    folder: SessionFolder, tmp_path: Path
) -> None:
    name = "é" * 120 + ".json"
    (tmp_path / name).write_bytes(b"newest")
    (tmp_path / ASIDE).write_bytes(b"newer")
    assert settle(folder, ASIDE, name, None, is_settled=True).recovered_as in contents(tmp_path)


def test_the_id_of_a_session_is_read_from_the_name_aside() -> None:
    assert owner_id_of(".removing-42") == 42
    assert owner_id_of(ASIDE) == 1
    assert owner_id_of(".removing-x") is None
