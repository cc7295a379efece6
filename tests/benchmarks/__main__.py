"""Measure the panel against plain Python and plain SQL, and write ratios: ``make bench``.

``python -m tests.benchmarks PART …`` measures and prints only some parts, and writes nothing.

Each step has its own process, and each step that changes a database has its own copy. The times of a ratio
come from one run, because the load of the machine varies.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.pages import AGAINST_STOCK, PAGES, STOCK, STOCK_ROUNDS, WITH_COUNTS, Server, best_of
from tests.benchmarks.places import Place, empty_place

PROJECT_DIR = Path(__file__).resolve().parents[2]
DOCUMENT = PROJECT_DIR / "docs" / "benchmarks.md"
MARKS = ("<!-- measured -->\n", "<!-- end -->\n")
VENDORS = ("sqlite", "postgresql")
PARTS = ("sync", "million", "files", "undo", "manager", "probes", "screens")
SESSIONS = int(os.environ.get("RAPTOR_TEST_BENCH_SESSIONS", "1000000"))
FEW_SESSIONS = 10_000
FEW_ON_SCREENS = 1_000
KILOBYTE = 1_000
FILES = 100_000
ROUNDS = 3
MEGABYTE = 1024 * 1024
PERCENT = 28


class Sweep(NamedTuple):
    """A sweep of files, which a run is compared with: the order and the share of expired sessions."""

    layout: str
    percent: int
    what: str
    limit: int


SWEEPS = (
    Sweep("scattered", PERCENT, "28 % expired, scattered", 4),
    Sweep("in order", PERCENT, "28 % expired, the oldest first", 6),
    Sweep("in order", 1, "1 % expired, as every night", 40),
)
PLAIN_SQL = ("by condition", "by key")


class Row(NamedTuple):
    """A row of the table."""

    vendor: str
    what: str
    against: str
    measured: str
    limit: str

    def __str__(self) -> str:
        return "| " + " | ".join(self) + " |"


HEAD = f"{Row('database', 'what', 'against', 'measured', 'at most')}\n| --- | --- | --- | --- | --- |"


def main(parts: list[str]) -> int:
    if unknown := set(parts) - set(PARTS):
        print(f"error: {', '.join(sorted(unknown))}: not one of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    rows = []
    print(HEAD, flush=True)
    for row in measure(parts or PARTS):
        print(row, flush=True)
        rows.append(row)
    if not parts:
        write(rows)
    return 0


def measure(parts: Sequence[str]) -> Iterator[Row]:
    for vendor in VENDORS:
        with tempfile.TemporaryDirectory(prefix="raptor-bench-") as folder:
            bench = Bench(vendor, Path(folder))
            try:
                for part in parts:
                    yield from getattr(bench, part)()
            finally:
                bench.drop()


class Bench:
    """The benchmarks on one kind of database."""

    def __init__(self, vendor: str, folder: Path) -> None:
        self.vendor = vendor
        self.folder = folder
        self.empty = empty_place(vendor, folder)
        self.places: list[Place] = [self.empty]

    def drop(self) -> None:
        for place in self.places:
            place.drop()

    def sync(self) -> Iterator[Row]:
        yield from self._rows_of("sync")

    def undo(self) -> Iterator[Row]:
        if self.vendor == "sqlite":
            yield from self._rows_of("undo")

    def manager(self) -> Iterator[Row]:
        yield from self._rows_of("manager")

    def probes(self) -> Iterator[Row]:
        yield from self._rows_of("probes")

    def million(self) -> Iterator[Row]:
        master = self._filled(SESSIONS)
        size = f"{SESSIONS:,} sessions, 28 % expired"
        times = self._step(master, "plan")
        yield self._ratio(
            f"plan of {size}", "SELECT count, sum", times["plan_seconds"], times["count_seconds"], "1.2"
        )
        plain_sql = min(self._on_copy(master, "plain-sql", variant)["seconds"] for variant in PLAIN_SQL)
        run = self._on_copy(master, "run")
        yield self._ratio(
            f"run over {size}", "the best SQL in one transaction", run["run_seconds"], plain_sql, "1.5"
        )
        yield self._ratio("undo of it", "the run", run["undo_seconds"], run["run_seconds"], "1.2")
        for name in ("run", "undo"):
            longest = run[f"{name}_longest_seconds"]
            yield self._milliseconds(f"longest transaction of the {name}", longest, "250 ms")
        wait = f"{1000 * self._longest_wait(master):.0f} ms"
        yield Row(self.vendor, "longest wait of another writer", "", wait, "1000 ms")
        few = self._on_copy(self._filled(FEW_SESSIONS), "run")
        more = (run["peak_bytes"] - few["peak_bytes"]) / MEGABYTE
        what = f"peak memory of the run, less that of {FEW_SESSIONS:,}"
        yield Row(self.vendor, what, "", f"{more:.0f} MB", "20 MB")
        self._drop(master)

    def files(self) -> Iterator[Row]:
        for sweep in SWEEPS:
            place = self._filled(FILES, sweep.layout, sweep.percent)
            as_files = self._step(place, "files", str(FILES))["seconds"]
            run_sync = min(self._on_copy(place, "run")["run_seconds"] for _ in range(ROUNDS))
            yield Row(
                self.vendor,
                f"sweep of {FILES:,} documents as files: read, parse, unlink",
                f"the run over as many sessions, {sweep.what}",
                f"{as_files / run_sync:.1f} times",
                f"at least {sweep.limit}",
            )
            self._drop(place)

    def screens(self) -> Iterator[Row]:
        places = [self._new(f"screens{count}") for count in (SESSIONS, FEW_ON_SCREENS)]
        for place, count in zip(places, (SESSIONS, FEW_ON_SCREENS), strict=True):
            self._process(place, "tests.benchmarks.screens", "fill", str(count))
        servers = [Server(self._environment(place)) for place in places]
        sizes = {}
        for name, address in PAGES.items():
            times, sizes[name] = best_of(servers, [address] * 2)
            what = f"page with {SESSIONS:,} sessions: {name}"
            yield self._ratio(what, f"with {FEW_ON_SCREENS:,}", times[0], times[1], "1.3")
            if name == "metrics":
                yield self._milliseconds(what, times[0], "30 ms")
        for name, address in WITH_COUNTS.items():
            times, sizes[f"{name}, with counts"] = best_of([servers[0]] * 2, [address, PAGES[name]])
            what = f"list with {SESSIONS:,} sessions and counts: {name}"
            yield self._ratio(what, "without counts", times[0], times[1], "2")
        largest = max(sizes, key=sizes.__getitem__)
        size = f"{sizes[largest] / KILOBYTE:.0f} kB"
        yield Row(self.vendor, f"largest of these pages: {largest}", "", size, "150 kB")
        for name, (ours, query) in AGAINST_STOCK.items():
            times, _ = best_of([servers[0]] * 2, [f"{STOCK}{query}", PAGES[ours]], STOCK_ROUNDS)
            what = f"Django's own list of {SESSIONS:,} sessions: {name}"
            yield Row(self.vendor, what, "the panel's", f"{times[0] / times[1]:.1f} times", "at least 5")
        for server in servers:
            server.close()
        for place in places:
            self._drop(place)

    def _rows_of(self, module: str) -> Iterator[Row]:
        """Return the rows that a module measures on an empty database."""
        place = self._new(module)
        for line in self._process(place, f"tests.benchmarks.{module}").splitlines():
            yield Row(self.vendor, *json.loads(line))
        self._drop(place)

    def _filled(self, sessions: int, layout: str = "scattered", percent: int = PERCENT) -> Place:
        place = self._new(f"filled{sessions}")
        self._step(place, "fill", str(sessions), layout, str(percent))
        return place

    def _new(self, name: str) -> Place:
        place = self.empty.copy(name)
        self.places.append(place)
        return place

    def _on_copy(self, place: Place, *step: str) -> dict[str, Any]:
        copy = place.copy("work")
        self.places.append(copy)
        result = self._step(copy, *step)
        self._drop(copy)
        return result

    def _longest_wait(self, master: Place) -> float:
        copy = master.copy("work")
        self.places.append(copy)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.cleanup", "touch"],
            env=self._environment(copy),
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            self._step(copy, "run")
            writer.send_signal(signal.SIGTERM)
            output, _ = writer.communicate()
        self._drop(copy)
        return float(json.loads(output)["longest_seconds"])

    def _drop(self, place: Place) -> None:
        place.drop()
        self.places.remove(place)

    def _step(self, place: Place, *step: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self._process(place, "tests.benchmarks.cleanup", *step))
        return result

    def _process(self, place: Place, module: str, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self._environment(place),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def _environment(self, place: Place) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "raptor_admin.settings",
            "RAPTOR_VAR_DIR": str(self.folder),
            "RAPTOR_DATABASE_URL": place.url,
        }

    def _ratio(self, what: str, against: str, seconds: float, plain_seconds: float, limit: str) -> Row:
        return Row(self.vendor, what, against, f"{seconds / plain_seconds:.2f}", limit)

    def _milliseconds(self, what: str, seconds: float, limit: str) -> Row:
        return Row(self.vendor, what, "", f"{1000 * seconds:.0f} ms", limit)


def write(rows: list[Row]) -> None:
    """Replace the table in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    table = "\n".join([HEAD, *map(str, rows)])
    measured = f"Measured on {datetime.now(UTC):%Y-%m-%d}, {machine()}.\n\n{table}\n"
    DOCUMENT.write_text(f"{before}{MARKS[0]}{measured}{MARKS[1]}{after}", encoding="utf-8")


def machine() -> str:
    """Describe the machine without its name."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return f"{os.cpu_count()} cores ({model}), {platform.system()}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
