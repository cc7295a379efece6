"""``manage.py qcluster`` in place of django-q2's command, whose stop can hang."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from raptor_admin.processes import end_with_supervisor
from sessions_app.queue.cluster import SentinelDied, run_cluster


class Command(BaseCommand):
    help = "Run the worker: it starts what is due, and runs the tasks in the queue, until SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        end_with_supervisor()
        try:
            run_cluster()
        except SentinelDied as error:
            raise CommandError(str(error)) from error
