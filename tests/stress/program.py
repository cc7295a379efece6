"""Programs that use ``SessionManager``, each in a process: ``python -m tests.stress.program JOB …``.

Each is a plain script that imports the manager and sets nothing up. It prints that it is ready, waits for
a line, works until it is done or its input ends, and prints a report as JSON.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from raptor.core.session_manager import SessionManager
from sessions_app.client import runtime
from tests.pages import FakeBrowser, FakeBrowserType, FakeContext, page

SEED_VARIABLE = "RAPTOR_TEST_SEED"
OLD_TIME = "2020-01-01T12:00:00+00:00"
FORK_SECONDS = 60


def endpoint(token: str) -> str:
    """Return the endpoint of the browser of a session."""
    return f"ws://127.0.0.1:9222/{token}"


class Saver:
    """Save sessions under its own names and under names that all savers share, and check them.

    Some names have an old session before, expired or invalid, which a sweep may remove first.
    """

    def __init__(self, manager: SessionManager, label: str, own: list[str], shared: list[str]) -> None:
        self.manager = manager
        self.label = label
        self.own = own
        self.shared = shared
        self.chance = random.Random(f"{os.environ.get(SEED_VARIABLE)} {label}")
        self.saves: list[tuple[str, str, int, int]] = []
        self.aged: list[str] = []
        self.errors: list[str] = []
        self.counts = {"touches": 0, "lists": 0}
        self._last: dict[str, str] = {}
        self._numbers = 0

    def work(self) -> None:
        """Work on all names; report failures at the end."""
        for number, name in enumerate(self.own):
            if self.chance.random() < 0.4:
                self._try(self._leave_old, name)
            self._try(self._save, name)
            self._try(self._touch, self.chance.choice(self.own[: number + 1]))
            if self.shared and self.chance.random() < 0.3:
                shared = self.chance.choice(self.shared)
                self._try(self._save, shared)
                self._try(self._touch, shared)
            if self.chance.random() < 0.2:
                again = self.chance.choice(self.own[: number + 1])
                self._try(self._leave_old, again)
                self._try(self._save, again)
            if number % 10 == 0:
                self._try(self._look)

    def save_until(self, has_ended: threading.Event) -> None:
        """Save the same few names until the event is set."""
        while not has_ended.is_set():
            self._try(self._save, f"{self.label}-{len(self.saves) % 10}")

    def save_and_look(self) -> None:
        self._try(self._save, self.chance.choice(self.own))
        self._try(self._look)

    def report(self) -> dict[str, Any]:
        return {"saves": self.saves, "aged": self.aged, "errors": self.errors, **self.counts}

    def _try(self, action: Callable[..., None], *arguments: str) -> None:
        began = time.monotonic()
        try:
            action(*arguments)
        except Exception:
            seconds = time.monotonic() - began
            self.errors.append(f"{self.label}, after {seconds:.1f} s: {traceback.format_exc()}")

    def _token(self) -> str:
        self._numbers += 1
        return f"{self.label}-{self._numbers}"

    def _save(self, name: str) -> None:
        token = self._token()
        began_ns = time.monotonic_ns()
        browser = FakeBrowser(ws_endpoint=endpoint(token), browser_type=FakeBrowserType("firefox"))
        saved = page(url=f"https://shop.example/{token}", context=FakeContext(browser))
        info = self.manager.save_session(saved, name, {"token": token})
        self.saves.append((name, token, began_ns, time.monotonic_ns()))
        self._last[name] = token
        assert info.metadata["token"] == token

    def _touch(self, name: str) -> None:
        # restore_session does this after it has connected.
        asyncio.run(runtime.run_async(self.manager._store.touch, name))
        self.counts["touches"] += 1

    def _look(self) -> None:
        names = self.manager.list_sessions()
        assert names == sorted(set(names)), "a name is listed twice, or out of order"
        assert self._last.keys() <= set(names), f"not listed: {self._last.keys() - set(names)}"
        self.counts["lists"] += 1
        name = self.chance.choice(list(self._last))
        info = self.manager.get_session_info(name)
        assert info is not None
        assert self.manager.validate_session(name)
        assert name in self.shared or info.metadata["token"] == self._last[name]

    def _leave_old(self, name: str) -> None:
        """Replace a name by an old session, and sometimes wait so that a sweep can see it."""
        token = self._token()
        # Record it before the call: it may exist even if the call fails.
        self.aged.append(token)
        content = old_content(token, is_invalid=self.chance.random() < 0.3)
        folder = self.manager.get_storage_dir()
        if folder is None:
            runtime.run_sync(put_row, self.manager.namespace, name, content)
        else:
            put_file(folder, name, content)
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, 0.1))


def old_content(token: str, *, is_invalid: bool) -> dict[str, Any]:
    """Return the document of a session that is expired, or fresh and invalid."""
    return {
        "session_id": token,
        "cdp_url": "" if is_invalid else endpoint(token),
        "browser_type": "firefox",
        "created_at": OLD_TIME,
        "last_accessed": datetime.now(UTC).isoformat() if is_invalid else OLD_TIME,
        "metadata": {"token": token},
    }


def put_row(namespace: str, name: str, content: dict[str, Any]) -> None:
    """Create a session in the database, or replace the session with the same name."""
    from sessions_app.models import BrowserSession
    from sessions_app.session.document import parse_document, write_document

    data = write_document(content)
    values = {**parse_document(data, time_zone=UTC)._asdict(), "document": data, "size_bytes": len(data)}
    if not BrowserSession.objects.filter(namespace=namespace, name=name).update(**values):
        BrowserSession.objects.create(namespace=namespace, name=name, **values)


def put_file(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Write a document into a folder atomically, as another program does."""
    # Write outside the folder, so that it holds only files of sessions and of the manager.
    temporary = folder.with_name(f"{folder.name}.{content['session_id']}")
    temporary.write_text(json.dumps(content))
    temporary.replace(folder / f"{name}.json")


def save(manager: SessionManager, savers: dict[str, list[str]], shared: list[str]) -> dict[str, Any]:
    """Run savers: the first in this thread, the others in separate threads."""
    made = [Saver(manager, label, own, shared) for label, own in savers.items()]
    threads = [threading.Thread(target=saver.work) for saver in made[1:]]
    for thread in threads:
        thread.start()
    made[0].work()
    for thread in threads:
        thread.join()
    reports = [saver.report() for saver in made]
    return {"savers": reports}


def sweep(manager: SessionManager) -> dict[str, Any]:
    """Remove expired and invalid sessions repeatedly until the input ends."""
    counts = {"sweeps": 0, "removed": 0}
    errors: list[str] = []
    while not _has_input_ended():
        try:
            counts["removed"] += manager.cleanup_expired_sessions() + manager.cleanup_invalid_sessions()
            counts["sweeps"] += 1
        except Exception:
            errors.append(traceback.format_exc())
        time.sleep(0.005)
    return {**counts, "errors": errors}


def _has_input_ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def fork(manager: SessionManager, children: int, threads: int) -> dict[str, Any]:
    """Fork repeatedly while threads save, and use the manager in parent and children."""
    parent = Saver(manager, "parent", [f"parent-{number}" for number in range(10)], [])
    parent.work()
    savers = [Saver(manager, f"thread-{number}", [], []) for number in range(threads)]
    has_ended = threading.Event()
    working = [threading.Thread(target=saver.save_until, args=(has_ended,)) for saver in savers]
    for thread in working:
        thread.start()
    forked = [_fork(manager, parent, number) for number in range(children)]
    reports = [report for receiver, child in forked if (report := _report_of(receiver, child)) is not None]
    has_ended.set()
    for thread in working:
        thread.join()
    reports += [saver.report() for saver in (parent, *savers)]
    return {"savers": reports, "exit_codes": [child.exitcode for _, child in forked]}


def _fork(manager: SessionManager, parent: Saver, number: int) -> tuple[Connection, ForkProcess]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work_in_child, args=(manager, number, sender))
    child.start()
    sender.close()
    parent.save_and_look()
    return receiver, child


def _work_in_child(manager: SessionManager, number: int, sender: Connection) -> None:
    saver = Saver(manager, f"child-{number}", [f"child-{number}-{index}" for index in range(3)], [])
    saver.work()
    sender.send(saver.report())


def _report_of(receiver: Connection, child: ForkProcess) -> dict[str, Any] | None:
    """Return the report of a child; kill a child that hangs, which its exit code shows."""
    has_ended = receiver.poll(FORK_SECONDS)
    try:
        report: dict[str, Any] | None = receiver.recv() if has_ended else None
    except EOFError:
        report = None
    if not has_ended:
        child.kill()
    child.join()
    return report


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"save": save, "sweep": sweep, "fork": fork}


def main() -> None:
    job, manager_arguments, arguments = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    manager = SessionManager(**manager_arguments)
    manager.list_sessions()
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(JOBS[job](manager, **arguments)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
