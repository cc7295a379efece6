"""Shared arguments, exit statuses and output of the commands.

The report goes to standard output, with ``--format json`` as one JSON object. Progress, questions and
warnings go to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management import CommandParser
from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import DatabaseError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from sessions_app.deadline import Deadline
from sessions_app.session.lookalikes import reveal
from sessions_app.session.masking import safe_message
from sessions_app.text import count_of, printable
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import open_database

FAILED = 1
WRONG_USAGE = 2
PROGRESS_EVERY = 500
_CLEAR_LINE = "\r\x1b[K"


class WrongUsage(CommandError):
    """The arguments of the command are wrong."""

    def __init__(self, message: object) -> None:
        super().__init__(str(message), returncode=WRONG_USAGE)


class ReportingCommand(BaseCommand):
    """A command that prints a report as text or as one JSON object."""

    opens_database = True
    """Disabled for a command that itself reports a database that does not answer."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="output format (default: %(default)s)",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            if self.opens_database:
                open_database()
            return super().execute(*args, **options)
        except CommandError as error:
            error.args = tuple(map(_escaped, error.args))
            raise
        except BrokenPipeError as error:
            # The reader, such as head, has closed the pipe. End the query, and let the flush at exit succeed.
            traceback.clear_frames(error.__traceback__)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(FAILED) from None
        except UnicodeEncodeError:
            raise WrongUsage("An argument holds bytes that are not UTF-8.") from None
        except (DatabaseError, OSError) as error:
            if message := disk_full_message(error):
                raise CommandError(message) from None
            if isinstance(error, OSError):
                raise
            raise CommandError(safe_message(error)) from None

    def write_json(self, report: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(report, indent=2))

    def write(self, text: str) -> None:
        """Print lines; names and paths in them must not control the terminal."""
        self.stdout.write(_escaped(text))

    def warn(self, message: str) -> None:
        self.stderr.write(f"warning: {_escaped(message)}", self.style.WARNING)


def _escaped(text: object) -> str:
    # Line breaks structure the output; those in names are escaped by ``printable_name``.
    return printable(str(text), kept="\n")


def add_scope_arguments(parser: CommandParser) -> None:
    """Add the arguments that limit a command to some of the sessions."""
    parser.add_argument("--namespace", default="", help="only sessions in this namespace")
    parser.add_argument("--browser-type", default="", help="only sessions of this browser type")


def add_age_arguments(parser: CommandParser) -> None:
    """Add the instant at which sessions are evaluated, and the age at which they expire."""
    parser.add_argument(
        "--as-of",
        metavar="TIME",
        help="evaluate sessions at this time, such as 2026-11-22T12:00:00+00:00 (default: now)",
    )
    parser.add_argument(
        "--max-age-days",
        type=float,
        default=settings.RAPTOR_MAX_AGE_DAYS,
        metavar="DAYS",
        help="a session last accessed longer ago is expired (default: %(default)s)",
    )


def read_instant(text: str | datetime | None) -> datetime | None:
    """Parse the value of ``--as-of``; a time without an offset is in ``TIME_ZONE``.

    Raises: WrongUsage: the value is not a time, or is out of range.
    """
    if text is None:
        return None
    try:
        instant = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(
            f"“{text}” is not a time. Write it as ISO 8601, for example 2026-11-22T12:00:00+00:00."
        ) from None
    if not 1970 <= instant.year < 9999:
        raise WrongUsage(f"“{text}” is out of range: choose a time from 1970 on.")
    return instant if timezone.is_aware(instant) else timezone.make_aware(instant)


def bytes_of(size_bytes: int) -> str:
    """Format a size exactly and, from 1 KB on, rounded as well."""
    exact = count_of(size_bytes, "byte")
    if size_bytes < 1024:
        return exact
    return f"{exact} ({filesizeformat(size_bytes)})".replace("\N{NO-BREAK SPACE}", " ")


def local(instant: datetime | None) -> str:
    """Format a time in ``TIME_ZONE``."""
    return timezone.localtime(instant).strftime("%Y-%m-%d %H:%M") if instant else "unknown"


def printable_name(name: str) -> str:
    """Format a session's name, with escapes if it could be mistaken for another that looks alike."""
    text, revealed = printable(name), reveal(name)
    return f"{text} ({revealed})" if revealed not in ("", text) else text


def _unstyled(text: str) -> str:
    # Django prints standard error in bold red by default, and progress is not an error.
    return text


@contextmanager
def progress(stream: OutputWrapper, noun: str, *, total: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar; it draws nothing unless the stream is a terminal."""
    if not stream.isatty():
        yield lambda more: None
        return
    done = drawn = 0

    def advance(more: int) -> None:
        nonlocal done, drawn
        done += more
        if done - drawn < PROGRESS_EVERY and done != total:
            return
        drawn = done
        filled = 30 * done // total if total else 0
        bar = f"[{'#' * filled:30}] {done:,} of {total:,}" if total else f"{done:,}"
        stream.write(f"{_CLEAR_LINE}{bar} {noun}", _unstyled, ending="")
        stream.flush()

    try:
        yield advance
    finally:
        stream.write(_CLEAR_LINE, _unstyled, ending="")


@dataclass(frozen=True)
class _UntilStopped(Deadline):
    """A deadline that also passes when the user asks the command to stop."""

    is_stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def has_passed(self) -> bool:
        return self.is_stopped.is_set() or super().has_passed


@contextmanager
def stoppable(stream: OutputWrapper) -> Iterator[Deadline]:
    """Stop after the current batch at the first Ctrl-C or SIGTERM, and at once at the second."""
    deadline = _UntilStopped()
    if threading.current_thread() is not threading.main_thread():
        yield deadline
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(number, previous[signal.Signals(number)])
        deadline.is_stopped.set()
        stream.write("Stopping after this batch …", _unstyled)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, stop)
    try:
        yield deadline
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
