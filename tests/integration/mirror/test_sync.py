"""Which folders can be registered, and which of their files become sessions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions_app.cleanup import run_cleanup
from sessions_app.mirror import reading
from sessions_app.mirror import sync as mirror
from sessions_app.mirror.registry import DirectoryError, register_directory, sync_directory
from sessions_app.models import BrowserSession, SessionDirectory
from tests.factories import document_bytes, live, make_session, names_in, plan, put, sync

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "is a symbolic link"),
        (lambda path: path.symlink_to(path.parent / "gone"), "is a symbolic link"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: os.mkfifo(path), "is not a regular file"),
        (lambda path: path.write_bytes(b"x" * 5_242_881), "is too large: 5,242,881 bytes"),
    ],
)
def test_a_file_that_is_not_a_document_is_reported_and_skipped(
    directory: SessionDirectory, folder: Path, make: Callable[[Path], None], reason: str
) -> None:
    put(folder, "good")
    make(folder / "odd.json")
    result = sync(directory)
    assert live() == ["good"]
    assert len(result.skipped) == 1
    name, message = result.skipped[0]
    assert name == "odd.json"
    assert message.startswith(reason)
    directory.refresh_from_db()
    assert directory.report["skipped_files"] == [{"file": "odd.json", "reason": message}]


def test_an_unreadable_file_is_reported_and_skipped(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "good")
    put(folder, "secret").chmod(0)
    if os.geteuid() == 0:  # root can read everything
        open_file = os.open

        def refuse(path: str, *args: Any, **kwargs: Any) -> int:
            if path == "secret.json":
                raise PermissionError(13, "Permission denied")
            return open_file(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)
    assert sync(directory).skipped == [("secret.json", "cannot be read: Permission denied")]
    assert live() == ["good"]


def test_invalid_names_are_reported_and_skipped(directory: SessionDirectory, folder: Path) -> None:
    put(folder, "good")
    (folder / ".json").write_bytes(document_bytes())
    (folder / os.fsdecode(b"bad-\xff.json")).write_bytes(document_bytes())
    (folder / "notes.txt").write_text("no document")
    result = sync(directory)
    assert live() == ["good"]
    assert sorted(result.skipped) == [
        (".json", "has only the suffix .json as its name"),
        ("bad-\\udcff.json", "has a name that is not UTF-8"),
    ]


@pytest.mark.parametrize(
    "name", ["a b", "ünïcode 🦖", "x" * 250, "..", "a%2Fb", "'; DROP TABLE x; --", "<b>"]
)
def test_any_name_of_a_file_is_a_name_of_a_session(
    directory: SessionDirectory, folder: Path, name: str
) -> None:
    put(folder, name)
    sync(directory)
    assert live() == [name]
    run_cleanup(plan(all=True))
    assert names_in(folder) == []


def test_only_a_folder_can_be_registered(folder: Path) -> None:
    with pytest.raises(DirectoryError, match="is not a folder"):
        register_directory(folder / "gone")


def test_a_folder_has_one_namespace(directory: SessionDirectory, folder: Path) -> None:
    assert register_directory(folder) == directory
    assert register_directory(str(folder) + "/", namespace="shop") == directory
    with pytest.raises(DirectoryError, match="mirrored into the namespace shop, not bank"):
        register_directory(folder, namespace="bank")


def test_names_of_other_sessions_in_the_namespace_are_reported_and_skipped(
    directory: SessionDirectory, folder: Path
) -> None:
    make_session("taken")
    put(folder, "taken")
    put(folder, "free")
    result = sync(directory)
    assert live() == ["free", "taken"]
    assert result.skipped[0][0] == "taken.json"
    assert "separate namespace" in result.skipped[0][1]
    assert BrowserSession.objects.get(name="taken").directory is None


def test_large_folders_are_imported_in_batches_of_bounded_rows_and_bytes(
    directory: SessionDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        put(folder, f"s{number}")
    monkeypatch.setattr(mirror, "BATCH_SIZE", 4)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 700)
    steps: list[int] = []
    result = sync_directory(directory, trigger="command", progress=steps.append)
    assert result.added == sum(steps) == 7
    assert max(steps) <= 3


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(
        st.binary(max_size=300) | st.text().map(lambda text: f'{{"session_id": "{text}"}}'.encode()),
        min_size=1,
        max_size=8,
    )
)
def test_any_bytes_are_imported_unchanged(
    directory: SessionDirectory, folder: Path, contents: list[bytes]
) -> None:
    put(folder, "good")
    for number, data in enumerate(contents):
        (folder / f"any-{number}.json").write_bytes(data)
    for number in range(len(contents), 8):
        (folder / f"any-{number}.json").unlink(missing_ok=True)
    result = sync(directory)
    assert result.skipped == []
    stored = dict(BrowserSession.objects.values_list("name", "content__document"))
    assert {name: bytes(data) for name, data in stored.items()} == {
        path.stem: path.read_bytes() for path in folder.iterdir()
    }


@pytest.mark.parametrize("namespace", ["x" * 101, " shop", "a\nb"])
def test_an_impossible_namespace_is_refused(folder: Path, namespace: str) -> None:
    with pytest.raises(DirectoryError, match="at most 100 visible characters"):
        register_directory(folder, namespace=namespace)


@pytest.mark.parametrize("path", ["~nosuchuser/x", os.fsdecode(b"/tmp/\xff"), "/tmp/a\0b"])
def test_an_impossible_path_is_refused(db: None, path: str) -> None:
    with pytest.raises(DirectoryError, match="not a path that can be registered"):
        register_directory(path)
