from __future__ import annotations

import os
from pathlib import Path

import pytest

from sessions_app.session_files import FileStamp, SessionFolder, SkippedFile

MAX_BYTES = 1_000


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    return SessionFolder(tmp_path)


def stamp(path: Path) -> FileStamp:
    return FileStamp.of(path.lstat())


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_a_file_is_read_whole_with_its_stamp(folder: SessionFolder, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    data, facts = folder.read("a.json", max_bytes=MAX_BYTES)
    assert (data, facts.stamp) == (b"{}", stamp(path))


@pytest.mark.parametrize("kind", ["folder", "pipe", "symlink", "large"])
def test_what_is_no_document_is_skipped_with_the_reason(
    folder: SessionFolder, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "symlink":
        path.symlink_to("/etc/hostname")
    else:
        path.write_bytes(b"x" * (MAX_BYTES + 1))
    reason = {
        "folder": "sub-folder",
        "pipe": "not a regular file",
        "symlink": "symbolic link",
        "large": "1,001 bytes",
    }
    with pytest.raises(SkippedFile, match=reason[kind]):
        folder.read("a.json", max_bytes=MAX_BYTES)


def test_a_write_replaces_the_file_and_leaves_no_other(folder: SessionFolder, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"old")
    written = folder.write("a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert written.stamp == stamp(tmp_path / "a.json")
    assert names(tmp_path) == ["a.json"]


def test_a_write_keeps_the_mode_of_the_file_and_a_new_file_is_private(
    folder: SessionFolder, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    folder.write("a.json", b"first")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o664)
    folder.write("a.json", b"second")
    assert path.stat().st_mode & 0o777 == 0o664


def test_a_failed_write_leaves_the_old_file_whole(folder: SessionFolder, tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()  # nothing can be put in its place
    with pytest.raises(OSError, match="directory"):
        folder.write("a.json", b"new")
    assert names(tmp_path) == ["a.json"]


def test_the_judged_file_is_removed(folder: SessionFolder, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    assert folder.remove("a.json", stamp(path), owner_id=1)
    assert names(tmp_path) == []


def test_a_file_that_is_gone_counts_as_removed(folder: SessionFolder, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    judged = stamp(path)
    path.unlink()
    assert folder.remove("a.json", judged, owner_id=1)


@pytest.mark.parametrize("change", ["rewritten", "replaced", "copied back"])
def test_another_file_in_the_place_is_kept(folder: SessionFolder, tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    judged, status = stamp(path), path.stat()
    if change == "rewritten":
        path.write_bytes(b"[]")
    elif change == "replaced":
        folder.write("a.json", b"{}")
    else:
        path.unlink()
        path.write_bytes(b"{}")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not folder.remove("a.json", judged, owner_id=1)
    assert names(tmp_path) == ["a.json"]


def test_a_file_put_in_the_place_between_look_and_removal_is_put_back(
    folder: SessionFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    judged = stamp(path)
    rename = os.rename

    def write_first(*args: object, **kwargs: object) -> None:
        folder.write("a.json", b"new")
        rename(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", write_first)
    assert not folder.remove("a.json", judged, owner_id=1)
    assert names(tmp_path) == ["a.json"]
    assert path.read_bytes() == b"new"


def test_a_still_newer_file_wins_over_one_that_would_be_put_back(
    folder: SessionFolder, tmp_path: Path
) -> None:
    (tmp_path / ".removing-1").write_bytes(b"new")
    (tmp_path / "a.json").write_bytes(b"newest")
    assert not folder.settle(".removing-1", "a.json", None)
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"newest"


def test_only_our_own_names_stand_for_sessions() -> None:
    assert SessionFolder.owner_id(".removing-42") == 42
    assert SessionFolder.owner_id(".removing-x") is None
