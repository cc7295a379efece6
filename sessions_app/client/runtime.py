"""Lets any program use the panel's database: a script, a test run, threads, an event loop, a forked child.

A Django that is set up already is used as it is. Otherwise Django is set up from ``RAPTOR_…`` variables, and
a few threads do the database's work: an event loop can call it, and a hundred threads share few connections.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from sessions_app.exceptions import SessionException
from sessions_app.session.masking import safe_message
from sessions_app.transactions.disk import disk_full_message

_P = ParamSpec("_P")
_T = TypeVar("_T")

SETTINGS = "raptor_admin.client_settings"
THREADS = 4
TRUSTED_SECONDS = 1.0
"""Seconds after its last use in which a connection is not checked again."""
MIGRATION_LOCK = 0x52415054
"""Key of the advisory lock for creating the tables."""


def set_up() -> None:
    """Set Django up, unless the program has done so.

    Raises: SessionException: the program's own Django lacks the app.
    """
    # Import Django when needed: a test run that saves no session does not wait for it.
    import django
    from django.apps import apps
    from django.conf import settings

    with _state.lock:
        if not apps.ready:
            has_no_settings = not settings.configured and "DJANGO_SETTINGS_MODULE" not in os.environ
            if has_no_settings:
                os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
            try:
                django.setup()
            finally:
                if has_no_settings:
                    # Programs that this one starts have their own settings.
                    del os.environ["DJANGO_SETTINGS_MODULE"]
            _state.is_own, _state.makes_tables = True, has_no_settings
    if not apps.is_installed("sessions_app"):
        raise SessionException(
            "This program's Django has no tables for sessions. Add “sessions_app” to INSTALLED_APPS, or "
            "unset DJANGO_SETTINGS_MODULE to use the settings of the panel."
        )


def run_sync(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run database work from any context, and wait for it.

    In a program with its own Django the work runs in the caller's thread and transaction, except inside an
    event loop, where Django refuses database access.

    Raises: SessionException: the database reports an error.
    """
    if _state.is_own or _is_in_event_loop():
        done: Future[_T] = _state.submit(_in_thread, work, *args, **kwargs)
        return done.result()
    return _masking_errors(work, *args, **kwargs)


async def run_async(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run database work without blocking the event loop; otherwise like ``run_sync``."""
    return await asyncio.wrap_future(_state.submit(_in_thread, work, *args, **kwargs))


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_thread(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    from django.db import connections

    connection = connections["default"]
    if time.monotonic() - _state.used_at.get(connection, 0.0) > TRUSTED_SECONDS:
        # Django checks connections per request only: reconnect here after a restart of the server.
        connection.close_if_unusable_or_obsolete()
    try:
        return _masking_errors(_with_tables, work, *args, **kwargs)
    finally:
        _state.used_at[connection] = time.monotonic()
        if not _state.is_own:
            # The program manages its own connections; this one would stay open.
            connection.close()


def _masking_errors(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    from django.db import Error

    try:
        return work(*args, **kwargs)
    except (Error, OSError) as error:
        if message := disk_full_message(error):
            raise SessionException(message) from None
        if isinstance(error, OSError):
            raise
        raise SessionException(f"The database failed: {safe_message(error)}{_advice()}") from None


def _advice() -> str:
    """Return what to do if the database is older than the package."""
    from django.db import Error, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        is_behind = bool(executor.migration_plan(executor.loader.graph.leaf_nodes("sessions_app")))
    except Error:
        return ""
    return " It is older than this package: run manage.py migrate." if is_behind else ""


def _with_tables(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run work; if it fails on a new database, create the tables and run it again."""
    from django.db import DatabaseError

    try:
        return work(*args, **kwargs)
    except DatabaseError:
        if not _state.makes_tables:
            raise
    _make_tables()
    return work(*args, **kwargs)


def _has_tables() -> bool:
    from django.db import connection

    return "sessions_app_policychange" in connection.introspection.table_names()


def _make_tables() -> None:
    """Create the tables of a new database, or wait for a process that is creating them."""
    from django.core.management import call_command

    with _alone_with_database():
        if not _has_tables():
            call_command("migrate", verbosity=0)


@contextmanager
def _alone_with_database() -> Iterator[None]:
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
        return
    with open(f"{connection.settings_dict['NAME']}.migrate-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _State:
    """The threads of this process, and their connections."""

    def __init__(self) -> None:
        self.is_own = self.makes_tables = False
        self.forget()

    def forget(self) -> None:
        self.lock = threading.RLock()
        self.pool: ThreadPoolExecutor | None = None
        self.used_at: dict[Any, float] = {}

    def submit(self, work: Callable[..., _T], *args: Any, **kwargs: Any) -> Future[_T]:
        with self.lock:
            if self.pool is None:
                self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="raptor-database")
            try:
                return self.pool.submit(work, *args, **kwargs)
            except RuntimeError as error:
                if "shutdown" not in str(error):
                    raise
        # The program is exiting, and Python starts no more work in other threads.
        done: Future[_T] = Future()
        done.set_result(work(*args, **kwargs))
        return done

    def before_fork(self) -> None:
        """Close what a child must not inherit: two processes on one connection corrupt a SQLite database."""
        self.lock.acquire()
        if self.pool is not None:
            self.pool.shutdown(wait=True)
            self.pool = None
        # Django refuses to close a connection inside an event loop.
        closing = threading.Thread(target=self._close_all)
        closing.start()
        closing.join()

    def _close_all(self) -> None:
        for connection in self.used_at:
            connection.inc_thread_sharing()
            connection.close()
        self.used_at.clear()


_state = _State()
os.register_at_fork(
    before=_state.before_fork,
    after_in_parent=lambda: _state.lock.release(),
    after_in_child=_state.forget,
)
