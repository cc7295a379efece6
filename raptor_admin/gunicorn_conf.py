"""The web server: ``gunicorn -c python:raptor_admin.gunicorn_conf raptor_admin.wsgi``."""

from pathlib import Path
from typing import Any

from gunicorn.workers import gthread

from raptor_admin import settings
from raptor_admin.connections import WaitingConnection
from raptor_admin.processes import end_with_supervisor
from raptor_admin.readers import SQLITE
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
    """End with the supervisor, if there is one."""
    end_with_supervisor()


def on_exit(server: Any) -> None:
    """Checkpoint the database when the web server stops, so that a copy of its file is whole."""
    if settings.DATABASES["default"]["ENGINE"] == SQLITE:
        truncate_log_at_stop(Path(settings.DATABASES["default"]["NAME"]))


def when_ready(server: Any) -> None:
    """Print the address once the socket listens; before that, a browser could not connect."""
    host, _, port = bind.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # noqa: S104  # compared, not bound
        host = "localhost"
    print(
        f"Raptor Admin is at http://{host}:{port}{settings.FORCE_SCRIPT_NAME or ''}/ (stop it with Ctrl-C)",
        flush=True,
    )
