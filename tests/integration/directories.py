"""Syncs of a directory, for tests."""

from __future__ import annotations

from pathlib import Path

from sessions_app.mirror.registry import sync_directory
from sessions_app.models import SessionDirectory
from sessions_app.session.sync_result import SyncResult


def sync(directory: SessionDirectory) -> SyncResult:
    return sync_directory(directory, trigger="command", actor="tester")


def counts(result: SyncResult) -> tuple[int, int, int, int]:
    return result.added, result.changed, result.unchanged, result.vanished


def in_folder(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".json") for path in folder.iterdir())
