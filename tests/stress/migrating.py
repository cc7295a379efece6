"""Steps of ``test_killed_migration``, one in a process: ``python -m tests.stress.migrating STEP``."""

from __future__ import annotations

import hashlib
import os
import sys

import django

COUNT = 5_000


def main(step: str) -> None:
    django.setup()
    from django.core.management import call_command

    from tests import old_tables

    if step == "fill":
        call_command("migrate", verbosity=0)
        # An empty database keeps no old tables, and the others are not the subject.
        migration = old_tables.step()
        migration.restart()
        call_command("migrate", "sessions_app", "0024", fake=True, verbosity=0)
        old_tables.fill_many(migration.apps, COUNT)
        old_tables.fill(migration.apps)
    elif step == "migrate":
        print("begun", flush=True)
        call_command("migrate", verbosity=0)
        print("ended", flush=True)
    else:
        text = repr(sorted(old_tables.contents().items()))
        print(hashlib.sha256(text.encode()).hexdigest(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
