#!/usr/bin/env python
"""Run a management command of Raptor Admin."""

import os
import sys


def main() -> None:
    """Run the command line; report a wrong configuration without a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raptor_admin.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
