"""What the tasks of the worker find, in tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.integration.commands import run, write

DUE = "2026-11-22T02:00:00+00:00"


def sync_three_sessions(folder: Path) -> Path:
    """A recent session, an expired one and an invalid one."""
    now = datetime.now(UTC)
    write(folder, "recent", last_accessed=now.isoformat())
    write(folder, "expired", last_accessed=(now - timedelta(days=8)).isoformat())
    write(folder, "invalid", last_accessed=now.isoformat(), cdp_url="")
    run("sync_directories", folder)
    return folder
