"""Measures the panel against plain Python, and prints ratios: ``make bench``.

Each database has a process of its own. A ratio is of times of one run, the best of several, because the
machine has other work too; seconds are of no use elsewhere and are not printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from tests.benchmarks import sync

POSTGRESQL = os.environ.get("RAPTOR_TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"


def main() -> int:
    if len(sys.argv) > 1:
        sync.measure()
        return 0
    print("| database | what | against | ratio | at most |\n| --- | --- | --- | --- | --- |", flush=True)
    status = 0
    for url in ("", POSTGRESQL):
        with tempfile.TemporaryDirectory(prefix="raptor-bench-") as folder:
            environment = {
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "raptor_admin.settings",
                "RAPTOR_VAR_DIR": folder,
                "RAPTOR_DATABASE_URL": url,
            }
            measuring = [sys.executable, "-m", "tests.benchmarks", "measure"]
            status |= subprocess.run(measuring, env=environment, check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
