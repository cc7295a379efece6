"""Steps of the cleanup benchmark, one in a process: ``python -m tests.benchmarks.cleanup STEP …``.

Each step works on the database of the settings and prints one JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import django

django.setup()

from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Count, Sum

from sessions_app.cleanup import plan_cleanup, run_cleanup, undo_cleanup
from sessions_app.cleanup.batches import BatchSize
from sessions_app.models import BrowserSession, CleanupRun, SessionDocument
from sessions_app.models.clock import database_now
from sessions_app.models.ids import repair_sequence
from sessions_app.session.criteria import Criteria

SESSIONS = BrowserSession._meta.db_table
DOCUMENTS = SessionDocument._meta.db_table
EXPIRED = Criteria(expired=True, max_age_days=7)

# The columns of each row follow from its own document.
_FILL = """
INSERT INTO {sessions} (id, namespace, name, size_bytes, session_id, endpoint_length, shown_endpoint,
    browser_type, created_at, last_accessed, is_corrupted, is_pinned, file_name)
SELECT i, 'team-' || (i % 10), word || '-' || substr(token, 1, 8) || '-' || i, size_bytes, token,
    length(url), 'ws://127.0.0.1:' || (9000 + i % 1000), 'chromium', {at}, {at}, {false}, {false}, ''
FROM filling ORDER BY i
"""
_FILL_DOCUMENTS = "INSERT INTO {documents} (session_id, cdp_url, document) SELECT i, url, bytes FROM filling"
_FILLING = """
CREATE TEMPORARY TABLE filling AS
SELECT i, word, token, url, age, title, length(text) AS size_bytes, {bytes} AS bytes FROM (
    SELECT i, word, token, url, age, title, '{{"session_id": "' || token || '", "cdp_url": "' || url ||
        '", "browser_type": "chromium", "created_at": "' || {iso} || '", "last_accessed": "' || {iso} ||
        '", "metadata": {{"page_url": "https://shop.example/cart/' || i || '", "page_title": "' ||
        title || '"}}}}' AS text
    FROM (
        SELECT i, token, CASE i * 31 % 4 WHEN 0 THEN 'login' WHEN 1 THEN 'cart' WHEN 2 THEN 'search'
            ELSE 'checkout' END AS word,
            'ws://127.0.0.1:' || (9000 + i % 1000) || '/devtools/browser/' || token AS url,
            substr('{padding}', 1, CAST(i * 37 % 200 AS integer)) AS title, {age} AS age
        FROM {numbers}
    ) AS numbered
) AS written
"""
_DIALECTS = {
    "sqlite": {
        "numbers": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
        "SELECT i, lower(hex(randomblob(16))) AS token FROM n) AS n",
        "at": "strftime('%Y-%m-%d %H:%M:%f', '{now}', '-' || age || ' days')",
        "iso": "strftime('%Y-%m-%dT%H:%M:%f+00:00', '{now}', '-' || age || ' days')",
        "bytes": "CAST(text AS BLOB)",
        "false": "0",
    },
    "postgresql": {
        "numbers": "(SELECT i, md5(i::text) AS token FROM generate_series(1, {count}::bigint) AS i) AS n",
        "at": "'{now}'::timestamptz - age * interval '1 day'",
        "iso": "to_char('{now}'::timestamptz - age * interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SS+00:00')",
        "bytes": "convert_to(text, 'UTF8')",
        "false": "FALSE",
    },
}


# Days since the last access; “in order” adds the oldest first, as in a real panel.
_AGES = {
    "scattered": "CASE WHEN i * 7919 % 100 < {percent} THEN 8 + i * 104729 % 5000 / 100.0 "
    "ELSE i * 104729 % 650 / 100.0 END",
    "in order": "CASE WHEN i <= {expired} THEN 58 - 50.0 * i / {expired} "
    "ELSE 6.5 * ({count} - i) / {count} END",
}


def fill(count: int, layout: str, percent: int) -> dict[str, Any]:
    """Create the tables, and sessions of which some percent are expired."""
    call_command("migrate", verbosity=0)
    now = database_now().strftime("%Y-%m-%d %H:%M:%S")
    dialect = {
        key: text.replace("{now}", now).replace("{count}", str(count))
        for key, text in _DIALECTS[connection.vendor].items()
    }
    expired = count * percent // 100
    age = _AGES[layout].format(percent=percent, expired=expired, count=count)
    with connection.cursor() as cursor:
        cursor.execute(_FILLING.format(age=age, padding="x" * 200, **dialect))
        cursor.execute(_FILL.format(sessions=SESSIONS, **dialect))
        cursor.execute(_FILL_DOCUMENTS.format(documents=DOCUMENTS))
        cursor.execute("DROP TABLE filling")
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "VACUUM ANALYZE")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    repair_sequence()
    return {"sessions": BrowserSession.objects.count()}


def plan() -> dict[str, Any]:
    """Measure a plan against a count and a sum of its matches, alternately."""
    counting, planning = [], []
    for _ in range(7):
        counting.append(seconds_of(_count))
        planning.append(seconds_of(_plan))
    return {"count_seconds": min(counting), "plan_seconds": min(planning)}


def _count() -> None:
    now = database_now()
    matching = BrowserSession.objects.filter(EXPIRED.matching(now), updated_at__lt=now)
    matching.aggregate(count=Count("*"), bytes=Sum("size_bytes"))


def _plan() -> CleanupRun:
    return plan_cleanup(EXPIRED, trigger="command")


def plain_sql(variant: str) -> dict[str, Any]:
    """Mark the expired sessions as removed in one transaction, with the fastest SQL that is known."""
    run = _plan()
    cutoff = _literal(EXPIRED.cutoff(run.as_of))
    expired = (
        f"run_id IS NULL AND idle_since < '{cutoff}' AND NOT is_pinned "
        f"AND updated_at < '{_literal(run.sealed_at)}'"
    )
    values = f"run_id = {run.pk}, reasons = 256 + (problems & 44), removed_at = CURRENT_TIMESTAMP"
    conditions = {
        "by condition": expired,
        "by key": f"id IN (SELECT id FROM {SESSIONS} WHERE {expired} ORDER BY id)",
    }

    def work() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {SESSIONS} SET {values} WHERE {conditions[variant]}")

    seconds = seconds_of(work)
    assert run.archived_sessions.count() == run.matched_count
    return {"seconds": seconds}


def _literal(instant: datetime) -> str:
    return instant.isoformat(" ") if connection.vendor == "postgresql" else instant.isoformat(" ")[:26]


def run(batch_size: str = "") -> dict[str, Any]:
    """Run a plan and undo it."""
    planned = _plan()
    rows = int(batch_size) if batch_size else None
    with transactions_timed() as run_transactions:
        run_seconds = seconds_of(lambda: run_cleanup(planned, batch_size=rows))
    run_bytes = peak_bytes()
    with transactions_timed() as undo_transactions:
        undo_seconds = seconds_of(lambda: undo_cleanup(planned, batch_size=rows))
    assert planned.removed_count == planned.restored_count == planned.matched_count
    return {
        "removed": planned.removed_count,
        "run_seconds": run_seconds,
        "run_longest_seconds": max(run_transactions),
        "undo_seconds": undo_seconds,
        "undo_longest_seconds": max(undo_transactions),
        "peak_bytes": run_bytes,
    }


@contextmanager
def transactions_timed() -> Iterator[list[float]]:
    """Record how long each batch keeps its transaction open, including the commit."""
    seconds: list[float] = []
    measured = BatchSize.measured

    @contextmanager
    def noting(self: BatchSize) -> Iterator[None]:
        began = time.perf_counter()
        with measured(self):
            yield
        seconds.append(time.perf_counter() - began)

    BatchSize.measured = noting  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        BatchSize.measured = measured  # type: ignore[method-assign]


def touch() -> dict[str, Any]:
    """Touch sessions until SIGTERM, and print the longest time of one."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    fresh = list(BrowserSession.objects.order_by("-idle_since").values_list("pk", flat=True)[:1000])
    longest = 0.0
    count = 0
    while not stopped:
        touched = BrowserSession.objects.filter(pk=fresh[count % len(fresh)])
        longest = max(longest, seconds_of(partial(touched.update, is_pinned=False)))
        count += 1
        time.sleep(0.02)
    return {"writes": count, "longest_seconds": longest}


def files(count: str) -> dict[str, Any]:
    """Sweep a folder of documents without a database: read and parse each, and unlink the expired ones."""
    with tempfile.TemporaryDirectory(prefix="raptor-bench-files-") as name:
        folder = Path(name)
        documents = BrowserSession.objects.values_list("content__document", flat=True)
        for number, document in enumerate(documents.iterator(chunk_size=1000)):
            (folder / f"{number}.json").write_bytes(bytes(document))
        assert number + 1 == int(count)
        cutoff = EXPIRED.cutoff(database_now())
        return {"seconds": seconds_of(lambda: _sweep_files(folder, cutoff))}


def _sweep_files(folder: Path, cutoff: datetime) -> None:
    for path in folder.glob("*.json"):
        with path.open() as file:
            last_accessed = datetime.fromisoformat(json.load(file)["last_accessed"])
        if last_accessed < cutoff:
            path.unlink()


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def peak_bytes() -> int:
    """Return the peak memory of this process in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    steps: dict[str, Callable[..., dict[str, Any]]] = {
        "fill": lambda count, layout, percent: fill(int(count), layout, int(percent)),
        "plan": plan,
        "plain-sql": plain_sql,
        "run": run,
        "touch": touch,
        "files": files,
    }
    step, *arguments = sys.argv[1:]
    print(json.dumps(steps[step](*arguments)), flush=True)
    os._exit(0)
