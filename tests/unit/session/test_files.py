from __future__ import annotations

import os
from pathlib import Path

import pytest

from sessions_app.session.files import FileStamp, SessionFolder, SkippedFile

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
    content = folder.read("a.json", max_bytes=MAX_BYTES)
    assert (content.data, content.stamp) == (b"{}", stamp(path))


@pytest.mark.parametrize("kind", ["folder", "pipe", "symlink", "large"])
def test_a_file_that_is_not_a_document_is_skipped_with_the_reason(
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
        "folder": "is a folder",
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
    (tmp_path / "a.json").mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match="directory"):
        folder.write("a.json", b"new")
    assert names(tmp_path) == ["a.json"]
