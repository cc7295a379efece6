"""The web server: ``gunicorn -c python:raptor_admin.gunicorn_conf raptor_admin.wsgi``."""

import os
import time
from pathlib import Path
from typing import Any

from gunicorn.workers import gthread

from raptor_admin import settings
from raptor_admin.connections import WaitingConnection
from raptor_admin.processes import end_with_supervisor
from raptor_admin.readers import SQLITE
from sessions_app.queue.start import WEB_STARTED_AT
from sessions_app.transactions.reserve import truncate_log_at_stop

bind = settings.RAPTOR_BIND
workers = 2
worker_class = "gthread"
threads = 4
timeout = 60
graceful_timeout = 3
# The control socket would be created in the home folder, and only the supervisor controls the server.
control_socket_disable = True
accesslog = None
loglevel = "warning"


# The worker makes a connection for each client by this name.
gthread.TConn = WaitingConnection


def on_starting(server: Any) -> None:
    """End when the supervisor ends, if there is one, and store the time of the start."""
    end_with_supervisor()
    # The processes that answer requests inherit this variable.
    os.environ[WEB_STARTED_AT] = str(time.time())


def on_exit(server: Any) -> None:
    """Checkpoint the database when the web server stops, so that a copy of its file is whole."""
    if settings.DATABASES["default"]["ENGINE"] == SQLITE:
        truncate_log_at_stop(Path(settings.DATABASES["default"]["NAME"]))


def post_worker_init(worker: Any) -> None:
    """Start the thread that watches the alerts, in each process of the web server."""
    # These modules need Django, which is set up only now.
    from raptor_admin.watcher import start_watcher

    start_watcher()


def when_ready(server: Any) -> None:
    """Print the address once the socket listens; before that, a browser could not connect."""
    host, _, port = bind.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # noqa: S104  # compared, not bound
        host = "localhost"
    print(
        f"Raptor Admin is at http://{host}:{port}{settings.FORCE_SCRIPT_NAME or ''}/ (stop it with Ctrl-C)",
        flush=True,
    )
