from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.panel import Panel, free_port
from tests.full_disk import MB, mounted


@pytest.mark.parametrize("free_bytes", [0, 40_000, 2 * MB], ids=["secret-key", "database", "static-files"])
def test_a_start_on_a_full_disk_reports_it_in_one_line(tmp_path: Path, free_bytes: int) -> None:
    with mounted(tmp_path / "disk", size_bytes=4 * MB) as disk:
        disk.fill()
        disk.free(free_bytes)
        panel = Panel(tmp_path, free_port())
        try:
            panel.start(RAPTOR_VAR_DIR=str(disk.path))
            assert panel.process is not None
            assert panel.process.wait(120) == 1
        finally:
            panel.stop()
    lines = panel.output.removeprefix("Preparing Raptor Admin.\n").splitlines()
    assert len(lines) == 1
    assert f"The disk is full: {disk.path}" in lines[0]
