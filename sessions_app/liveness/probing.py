"""Probes many endpoints at once, within a time limit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.conf import settings

from sessions_app.browsers.probe import Liveness, Probe, probe
from sessions_app.browsers.processes import SocketTable, memory_of
from sessions_app.deadline import Deadline
from sessions_app.liveness.due import Target, due_targets, enrol_sessions
from sessions_app.liveness.record import Answer, record
from sessions_app.models.clock import database_now
from sessions_app.text import count_of

CONCURRENCY = 32
RECORDED_AT_ONCE = 200
DUE_AT_ONCE = 5_000
PASS_SECONDS = 18.0
"""A task ends within 20 s; the last answers can take two of these seconds."""

SAMPLE_SECONDS = 1.0
"""A client counts as connected if it appears in two samples this far apart. The panel's own probes and
screenshots take less time, except a screenshot of a page that hangs."""


@dataclass
class Counts:
    """Number of probed sessions by answer."""

    by_liveness: Counter[Liveness] = field(default_factory=Counter)
    in_use: int = 0
    is_interrupted: bool = False

    @property
    def probed(self) -> int:
        return self.by_liveness.total()

    def describe(self) -> str:
        """Describe the counts, as in “12 browsers probed: 10 alive, 2 unreachable; 1 in use”."""
        found = [
            f"{self.by_liveness[one]:,} {one.value.replace('_', ' ')}"
            for one in Liveness
            if self.by_liveness[one]
        ]
        more = f"; {self.in_use:,} in use" if self.in_use else ""
        return f"{count_of(self.probed, 'browser')} probed{': ' if found else ''}{', '.join(found)}{more}"

    def to_json(self) -> dict[str, int]:
        found = {liveness.value: self.by_liveness[liveness] for liveness in Liveness}
        return {"probed": self.probed, **found, "in_use": self.in_use}


class _Probed(NamedTuple):
    target: Target
    found: Probe


def probe_due(machine: str, *, deadline: Deadline) -> Counts:
    """Probe the sessions that are due on a machine; ``is_interrupted`` if more of them are due."""
    enrol_sessions(database_now())
    targets = list(due_targets(machine, database_now(), limit=DUE_AT_ONCE))
    counts = probe_all(targets, deadline=deadline)
    counts.is_interrupted |= len(targets) == DUE_AT_ONCE
    return counts


def probe_all(targets: Iterable[Target], *, deadline: Deadline | None = None) -> Counts:
    """Probe the endpoints of sessions, and store the answers.

    Only the calling thread uses the database. At most ``CONCURRENCY`` endpoints are probed at once.

    Args:
        deadline: Instant after which no further probe starts.
    """
    deadline = deadline or Deadline()
    results = _Results()
    pending: set[Future[_Probed]] = set()
    waiting = iter(targets)
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="raptor-probe") as pool:
        while True:
            while len(pending) < 2 * CONCURRENCY and not deadline.has_passed:
                if (target := next(waiting, None)) is None:
                    break
                pending.add(pool.submit(_probe_target, target))
            if not pending:
                break
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            results.add(future.result() for future in done)
    results.store()
    results.counts.is_interrupted = next(waiting, None) is not None
    return results.counts


def _probe_target(target: Target) -> _Probed:
    if target.machine is None:
        return _Probed(target, Probe(Liveness.UNKNOWN, "its machine is not known"))
    if not target.cdp_url.strip():
        return _Probed(target, Probe(Liveness.UNKNOWN, "it has no endpoint"))
    if target.browser_type in ("firefox", "webkit"):
        return _Probed(target, Probe(Liveness.UNKNOWN, "only Chromium answers over CDP"))
    return _Probed(target, probe(target.cdp_url, allowed_hosts=settings.RAPTOR_CDP_ALLOWED_HOSTS))


class _Results:
    """Answers to store, and the socket table as it was before these probes."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._probed: list[_Probed] = []
        self._before = SocketTable.read()
        self._read_at = time.monotonic()

    def add(self, found: Iterable[_Probed]) -> None:
        self._probed += found
        if len(self._probed) >= RECORDED_AT_ONCE:
            self.store()

    def store(self) -> None:
        answers = self._answers()
        if not answers:
            return
        record(answers, database_now())
        self.counts.by_liveness.update(answer.liveness for answer in answers)
        self.counts.in_use += sum(answer.is_in_use is True for answer in answers)
        self._probed.clear()

    def _answers(self) -> list[Answer]:
        alive = [one for one in self._probed if one.found.liveness is Liveness.ALIVE]
        in_use = self._in_use(alive) if alive else {}
        memory = self._memory(alive) if alive else {}
        return [
            Answer(
                target.pk,
                target.cdp_url,
                found.liveness,
                found.code.value if found.code else found.reason,
                in_use.get(target.pk),
                memory.get(target.pk),
            )
            for target, found in self._probed
        ]

    def _in_use(self, alive: list[_Probed]) -> dict[int, bool]:
        """Map the browsers on this machine to whether a client is connected; omit other browsers."""
        table = SocketTable.read()
        if any(self._clients(one, table) for one in alive):
            time.sleep(max(0.0, SAMPLE_SECONDS - (time.monotonic() - self._read_at)))
            table = SocketTable.read()
        found = {
            one.target.pk: bool(self._clients(one, table))
            for one in alive
            if table.clients(*_place(one)) is not None
        }
        self._before, self._read_at = table, time.monotonic()
        return found

    def _clients(self, one: _Probed, table: SocketTable) -> frozenset[Any]:
        """Return the clients that are connected in both samples."""
        before, now = (each.clients(*_place(one)) for each in (self._before, table))
        return (before or frozenset()) & (now or frozenset())

    def _memory(self, alive: list[_Probed]) -> dict[int, int]:
        pids = {one.target.pk: self._before.process(*_place(one)) for one in alive}
        found = memory_of({pid for pid in pids.values() if pid})
        return {pk: found[pid] for pk, pid in pids.items() if pid in found}


def _place(one: _Probed) -> tuple[tuple[str, ...], int]:
    address = one.found.address
    return (address.ips, address.port) if address else ((), 0)
