#!/usr/bin/env python
"""Run a management command of Raptor Admin."""

import atexit
import os
import sys


def main() -> None:
    """Run the command line; report a wrong configuration or a full disk without a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raptor_admin.settings")
    if sys.argv[1:2] == ["qcluster"]:
        # The command returns while the worker's processes go on: multiprocessing waits for them at exit. Its
        # function is registered when it is imported, below, so this one is called after it.
        atexit.register(checkpoint)
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from sessions_app.transactions.disk import disk_full_message

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        if message := disk_full_message(error):
            sys.exit(f"error: {message}")
        raise


def checkpoint() -> None:
    """Checkpoint the database after the last process of the worker is gone."""
    from sessions_app.transactions.reserve import truncate_log_at_stop

    truncate_log_at_stop()


if __name__ == "__main__":
    main()
