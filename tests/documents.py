"""Session documents for tests, and the documents with their truth table."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

AS_OF = datetime(2026, 11, 22, 12, tzinfo=UTC)


def document(**changes: Any) -> dict[str, Any]:
    """A valid session, last accessed the day before AS_OF; a change to ``...`` leaves the key out."""
    content = {
        "session_id": "checkout",
        "cdp_url": "ws://127.0.0.1:9222/devtools/browser/5b1b2c6e",
        "browser_type": "chromium",
        "created_at": "2026-11-20T09:00:00+00:00",
        "last_accessed": "2026-11-21T12:00:00+00:00",
        "metadata": {"env": "staging"},
        **changes,
    }
    return {key: value for key, value in content.items() if value is not ...}


def document_bytes(**changes: Any) -> bytes:
    return json.dumps(document(**changes), indent=2).encode()


def put(folder: Path, name: str, **changes: Any) -> Path:
    """Write a document into a folder, as RAPTOR does."""
    path = folder / f"{name}.json"
    path.write_bytes(document_bytes(**changes))
    return path


OLD: dict[str, Any] = {"last_accessed": "2026-10-01T12:00:00+00:00"}
