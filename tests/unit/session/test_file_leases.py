"""Checking on Linux whether a file is open for writing, with real files and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessions_app.session.file_leases import is_open_for_writing, knows_all_writers
from sessions_app.session.files import BusyFile, SessionFolder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has leases")

HOLD_OPEN = """
import os, sys
fd = os.open(sys.argv[1], int(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    return path


@contextmanager
def held_open(path: Path, flags: int) -> Iterator[None]:
    """Keep a file open in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, str(path), str(flags)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"open\n"
        yield
    finally:
        process.communicate()
    assert process.returncode == 0


def is_written(path: Path) -> bool | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return is_open_for_writing(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND])
def test_a_file_that_another_process_may_write_to_is_open_for_writing(path: Path, flags: int) -> None:
    with held_open(path, flags):
        assert is_written(path) is True
    assert is_written(path) is False


def test_readers_do_not_count(path: Path) -> None:
    with held_open(path, os.O_RDONLY):
        assert is_written(path) is False


def test_a_rename_does_not_hide_the_writer(path: Path) -> None:
    with held_open(path, os.O_WRONLY):
        assert is_written(path.rename(path.with_name("b.json"))) is True


def test_no_lease_is_left_behind(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        assert is_open_for_writing(fd) is False
        # A lease would block a writer for 45 seconds, or fail one that does not block.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        assert is_open_for_writing(fd) is False
    finally:
        os.close(fd)


def test_the_writers_of_a_folder_are_unknown(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert is_open_for_writing(fd) is None
    finally:
        os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_writers_of_another_users_file_are_unknown(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.seteuid(65534)
    try:
        assert is_open_for_writing(fd) is None
    finally:
        os.seteuid(0)
        os.close(fd)


def test_only_local_file_systems_know_all_writers(tmp_path: Path) -> None:
    for path, expected in ((tmp_path, True), (Path("/proc"), False)):
        fd = os.open(path, os.O_RDONLY)
        try:
            assert knows_all_writers(fd) is expected
        finally:
            os.close(fd)


def test_a_document_is_not_read_while_a_process_has_it_open_for_writing(path: Path) -> None:
    with SessionFolder(path.parent) as folder:
        with held_open(path, os.O_WRONLY), pytest.raises(BusyFile, match="being written"):
            folder.read("a.json", max_bytes=1_000)
        assert folder.read("a.json", max_bytes=1_000).is_closed
