"""Prepares the panel and runs web and worker in the foreground: ``python -m raptor_admin.up``."""

import argparse
import io
import json
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections

from raptor_admin.supervisor import Supervisor
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import (
    allocate_reserve,
    open_database,
    retry_with_room,
    truncate_log,
    truncate_log_at_stop,
)

PROJECT_DIR = Path(__file__).resolve().parent.parent
PASSWORD_VARIABLE = "RAPTOR_ADMIN_PASSWORD"  # noqa: S105  # its name, not its value


class CannotStart(Exception):
    """The panel cannot start; the message is printed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the panel, then supervise its programs until a stop signal."""
    parser = argparse.ArgumentParser(prog="python -m raptor_admin.up", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="session directories to mirror as well")
    parser.add_argument("--demo", action="store_true", help="fill an empty panel with demo data")
    options = parser.parse_args(arguments)
    folders: list[Path] = options.folders
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raptor_admin.settings")
    # The database and its journal contain endpoints, which must be protected like passwords.
    os.umask(0o077)
    try:
        django.setup()
        from django.conf import settings

        require_free_port(settings.RAPTOR_BIND)
        print("Preparing Raptor Admin.", flush=True)
        # Remove the password from the environment, so that web and worker do not inherit it.
        password = os.environ.pop(PASSWORD_VARIABLE, "").strip()
        prepare(folders, admin_password=password, is_demo=options.demo)
    except (CannotStart, CommandError, ImproperlyConfigured, DatabaseError, OSError) as error:
        message = str(error) if isinstance(error, CannotStart) else disk_full_message(error) or error
        print(f"error: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    web = ["-m", "gunicorn", "-c", "python:raptor_admin.gunicorn_conf", "raptor_admin.wsgi"]
    worker = ["manage.py", "qcluster"]
    Supervisor(
        {"web": [sys.executable, *web], "worker": [sys.executable, *worker]}, directory=PROJECT_DIR
    ).run()
    # A killed process leaves its write-ahead log, so do this after the last process has ended.
    truncate_log_at_stop()
    return 0


def require_free_port(bind: str) -> None:
    """Raise CannotStart if the web server cannot listen on the address."""
    host, _, port = bind.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {bind} ({error.strerror}). If Raptor Admin is running already, use it;"
            " otherwise choose another address, for example: RAPTOR_BIND=127.0.0.1:8001 make up"
        ) from error


@retry_with_room
def prepare(folders: Sequence[Path], *, admin_password: str, is_demo: bool = False) -> None:
    """Prepare the database, static files, administrator, schedules and session directories.

    A second call changes nothing.

    Args:
        is_demo: Fill an empty panel with demo data, and do not mirror the user's own sessions.
    """
    from django.conf import settings

    from raptor_admin.administrator import ensure_administrator
    from raptor_admin.static_files import collect_static_files
    from raptor_admin.upgrade import refuse_long_copy
    from sessions_app.checks import FILE_SYSTEMS
    from sessions_app.mirror.first_use import default_folder

    # Check the file system first: SQLite must not be opened on a network. Make room before Django's checks of
    # the database, which mistake a full disk for an old version of SQLite.
    call_command("check", tags=[FILE_SYSTEMS], stdout=io.StringIO())
    open_database()
    call_command("check", databases=["default"], stdout=io.StringIO())
    # A killed panel leaves its write-ahead log.
    truncate_log()
    allocate_reserve()
    refuse_long_copy()
    call_command("migrate", interactive=False, verbosity=0)
    try:
        collect_static_files()
    except OSError as error:
        if message := disk_full_message(error, folder=settings.STATIC_ROOT):
            raise CannotStart(message) from error
        raise
    for line in ensure_administrator(admin_password):
        print(line, flush=True)
    call_command("sync_schedules", stdout=io.StringIO())
    if is_demo:
        fill_demo(settings.RAPTOR_VAR_DIR)
    else:
        mirror(default_folder(), is_optional=True)
    for folder in folders:
        mirror(folder)
    connections.close_all()


def fill_demo(var_dir: Path) -> None:
    """Fill an empty panel with demo data, and print how to leave the demo."""
    from sessions_app.management.demo_panel import is_empty

    if is_empty():
        print("Creating the demo data takes a few seconds.", flush=True)
        call_command("demo_panel", str(var_dir / "sessions"))
    shown = os.path.relpath(var_dir)
    print(
        "",
        f"  This is a demo with generated sessions. Its database and documents are in {shown}.",
        "  To leave it, press Ctrl+C. “make up” starts your own panel, which the demo does not change.",
        f"  To remove the demo, delete the folder: rm -r {shlex.quote(shown)}",
        "",
        sep="\n",
        flush=True,
    )


def mirror(folder: Path, *, is_optional: bool = False) -> None:
    """Register and mirror a folder, unless it is registered already.

    An unreadable folder does not prevent the start: a warning is printed, and its admin page shows the error.
    """
    from sessions_app.models import SessionDirectory

    try:
        folder = folder.expanduser().resolve()
        if is_optional and not folder.is_dir():
            return
        if SessionDirectory.objects.filter(path=str(folder)).exists():
            return
        out, err = io.StringIO(), io.StringIO()
        call_command("sync_directories", str(folder), "--format", "json", stdout=out, stderr=err)
    # RuntimeError: a loop of symbolic links, or an unknown user.
    except (CommandError, OSError, RuntimeError) as error:
        print(f"warning: {folder} could not be mirrored: {error}", file=sys.stderr)
    else:
        (report,) = json.loads(out.getvalue())["directories"]
        found = report["added"] + len(report["skipped"])
        print(f"The sessions in {folder} are mirrored. Documents found: {found:,}.", flush=True)
        print(err.getvalue(), end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
