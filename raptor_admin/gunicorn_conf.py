"""The web server: ``gunicorn -c python:raptor_admin.gunicorn_conf raptor_admin.wsgi``."""

from typing import Any

from raptor_admin import settings

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


def when_ready(server: Any) -> None:
    """Print the address once the socket listens; before that, a browser could not connect."""
    host, _, port = bind.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # noqa: S104  # compared, not bound
        host = "localhost"
    print(f"Raptor Admin is at http://{host}:{port}/ (stop it with Ctrl-C)", flush=True)
