"""A healthy panel, ways to break it, and a server that receives webhooks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from sessions_app.alerts.rules import evaluate
from sessions_app.models import Alert, AlertDelivery, AlertRule, AlertTarget, Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.policies import start_due
from sessions_app.queue.enqueue import Task
from sessions_app.queue.schedules import JOBS
from tests.factories import make_policy, make_session, run_sweep

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "a-token-of-the-metrics"


def announce(name: str = "runner", *, at: datetime | None = None, **values: Any) -> Machine:
    """Store the heartbeat of a machine whose worker started an hour ago."""
    at = at or database_now()
    machine, _ = Machine.objects.update_or_create(
        name=name, defaults={"started_at": at - timedelta(hours=1), "heartbeat_at": at, **values}
    )
    return machine


def make_healthy() -> None:
    """Store a worker that is alive and up to date, so that there are no findings."""
    now = database_now()
    announce(at=now)
    start_due(now)
    QueuedTask.objects.all().delete()
    for job in JOBS:
        QueuedTask.objects.create(task=job.task.value, due_at=now, started_at=now, finished_at=now)


def stop_worker() -> None:
    Machine.objects.update(heartbeat_at=database_now() - timedelta(seconds=80))


def start_worker() -> None:
    Machine.objects.update(heartbeat_at=database_now())


def hold_a_run() -> int:
    """Run a sweep that exceeds its safety limit."""
    make_session(session_id="")
    run = run_sweep(make_policy("Careful", "invalid", brake_count=0)).held
    assert run is not None
    return run.pk


def move_away(folder: Path) -> Callable[[], Path]:
    """Rename a folder, and return a function that moves it back."""
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    return lambda: elsewhere.rename(folder)


def fail(task: Task, at: datetime) -> None:
    QueuedTask.objects.create(task=task.value, started_at=at, finished_at=at, has_failed=True)


def make_alert(*, namespace: str = "") -> Alert:
    """Create an open alert about a directory, with its rule, its target and its message."""
    target = AlertTarget.objects.create(name="chat", kind="email", address="anna@example.org")
    rule = AlertRule.objects.create(name="folders", kind=AlertRule.Kind.UNREACHABLE)
    rule.targets.add(target)
    now = database_now()
    alert = Alert.objects.create(
        rule=rule,
        code="directory_unreachable",
        subject="1",
        severity="critical",
        namespace=namespace,
        text="/srv/tests is gone.",
        fired_at=now,
    )
    AlertDelivery.objects.create(
        alert=alert,
        target=target,
        event=AlertDelivery.Event.FIRED,
        message_id="msg_1",
        body={"type": "alert.fired", "data": {"text": alert.text}},
        created_at=now,
        next_attempt_at=now,
    )
    return alert


class Receiver:
    """A real web server on loopback that checks the signature of each webhook with the library.

    Attributes:
        status: The status of the responses.
        messages: The verified bodies, in order of acceptance.
        ids: The webhook ids of all requests, accepted or not.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 204
        self.messages: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.bodies: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}

    @property
    def events(self) -> list[str]:
        return [message["type"] for message in self.messages]

    def take(self, headers: dict[str, str], body: bytes) -> int:
        message = Webhook(SECRET).verify(body, headers)
        self.ids.append(headers["webhook-id"])
        self.bodies.append(body.decode())
        if self.status < 300:
            self.messages.append(message)
        return self.status


@contextmanager
def receiving(host: str = "127.0.0.1") -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            receiver.requests.append((self.command, self.path))
            receiver.headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.take(receiver.headers, body) if self.command == "POST" else receiver.status
            self.send_response(status)
            if status in (301, 302, 307, 308):
                self.send_header("Location", f"{receiver.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # http.server's names

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    receiver = Receiver(f"http://{host}:{server.server_address[1]}")
    # shutdown() waits for the end of a poll.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def add_target(receiver: Receiver, name: str = "chat") -> AlertTarget:
    return AlertTarget.objects.create(
        name=name, kind=AlertTarget.Kind.WEBHOOK, address=f"{receiver.url}/hook/?token=t", secret=SECRET
    )


def fire() -> datetime:
    """Fire an alert; return an instant at which its messages are due."""
    stop_worker()
    now = database_now()
    assert len(evaluate(now).fired) == 1
    return now + timedelta(seconds=1)
