"""Fixtures of the tests of mirrored folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

if TYPE_CHECKING:
    from sessions_app.models import SessionDirectory


@pytest.fixture
def torn(folder: Path, directory: SessionDirectory) -> Iterator[BinaryIO]:
    """A writer that has overwritten a mirrored document with its first half."""
    from tests.factories import OLD, put, sync
    from tests.integration.mirror.torn import TORN, pass_time

    path = put(folder, "a", **OLD)
    sync(directory)
    pass_time(60)
    with path.open("wb") as writer:
        writer.write(TORN)
        writer.flush()
        yield writer
