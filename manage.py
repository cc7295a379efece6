#!/usr/bin/env python
"""Run a management command of Raptor Admin."""

import os
import sys


def main() -> None:
    """Hand the command line to Django; report a wrong configuration or a full disk without a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raptor_admin.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from sessions_app.disk import disk_full_message
    from sessions_app.room import truncate_log_at_stop

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        if message := disk_full_message(error):
            sys.exit(f"error: {message}")
        raise
    finally:
        if sys.argv[1:2] == ["qcluster"]:
            # The worker's processes are gone by now, and may have left a log that none of them closed.
            truncate_log_at_stop()


if __name__ == "__main__":
    main()
