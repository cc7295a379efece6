"""Write documents in every rhythm: ``python tests/stress/torn_writer.py FOLDER SEED TRIES THREADS``.

This program does not know the panel. Each try puts a document in place, pauses, and overwrites it with
another document. For each try it prints one line of JSON with the contents that it wrote.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

OLD_TIME = "2020-01-01T12:00:00+00:00"
SEEN_SECONDS = (1.0, 8.0)
PAUSE_SECONDS = (0.5, 6.0)


class Try:
    """One file, with its first document and the document that overwrites it."""

    def __init__(self, folder: Path, name: str, chance: random.Random) -> None:
        self.path = folder / f"{name}.json"
        self.chance = chance
        size = chance.choice((200, 1_500))
        self.first = self._document(f"{name}-first", chance.choice(("expired", "fresh")), size)
        self.last = self._document(f"{name}-last", chance.choice(("expired", "fresh", "invalid")), size)
        # The contents of the file whenever it was closed.
        self.closed = [self.first]
        # The writes, between which the panel may have removed the file.
        self.parts = [self.last]

    def _document(self, token: str, kind: str, size: int) -> bytes:
        now = datetime.now(UTC).isoformat()
        content = {
            "session_id": token,
            "cdp_url": "" if kind == "invalid" else f"ws://127.0.0.1:9222/devtools/browser/{token}",
            "browser_type": "chromium",
            "created_at": OLD_TIME,
            "last_accessed": OLD_TIME if kind == "expired" else now,
            "metadata": {"note": "." * size},
        }
        # Both documents have the same size, so that one can overwrite the other in place.
        data = json.dumps(content, indent=2).encode()
        return data + b"\n" * (size + 400 - len(data))

    def pause(self) -> None:
        time.sleep(self.chance.uniform(*PAUSE_SECONDS))

    def put_first(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        temporary.write_bytes(self.first)
        temporary.rename(self.path)

    @property
    def halves(self) -> tuple[bytes, bytes]:
        # A cut in the line breaks at the end would leave a valid document.
        at = self.chance.randrange(1, len(self.last.rstrip()))
        return self.last[:at], self.last[at:]


def write_halves(this: Try) -> None:
    first, second = this.halves
    with this.path.open("wb", buffering=0) as file:
        file.write(first)
        this.pause()
        file.write(second)


def write_a_byte_at_a_time(this: Try) -> None:
    with this.path.open("wb", buffering=0) as file:
        for number, byte in enumerate(this.last):
            file.write(bytes((byte,)))
            time.sleep(1 if number in (0, 1, len(this.last) // 2) else 0.002)


def truncate_and_rewrite(this: Try) -> None:
    first, second = this.halves
    with this.path.open("r+b" if this.path.exists() else "wb", buffering=0) as file:
        this.pause()
        file.truncate()
        this.pause()
        file.write(first)
        this.pause()
        file.write(second)


def append_after_a_close(this: Try) -> None:
    first, second = this.halves
    this.path.write_bytes(first)
    this.closed.append(first)
    this.parts = [first, second]
    this.pause()
    with this.path.open("ab", buffering=0) as file:
        file.write(second)


def rename_over(this: Try) -> None:
    first, second = this.halves
    temporary = this.path.with_suffix(".tmp")
    with temporary.open("wb", buffering=0) as file:
        file.write(first)
        this.pause()
        file.write(second)
    temporary.rename(this.path)


def write_in_place(this: Try) -> None:
    """Change the bytes but neither size nor mtime."""
    first, second = this.halves
    with this.path.open("r+b" if this.path.exists() else "wb", buffering=0) as file:
        status = os.fstat(file.fileno())
        this.pause()
        file.write(first)
        this.pause()
        file.write(second)
        os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))


RHYTHMS: list[Callable[[Try], None]] = [
    write_halves,
    write_a_byte_at_a_time,
    truncate_and_rewrite,
    append_after_a_close,
    rename_over,
    write_in_place,
]


def write(folder: Path, seed: str, number: int) -> str:
    """Make one attempt, and report the written data as a line of JSON."""
    rhythm = RHYTHMS[number % len(RHYTHMS)]
    this = Try(folder, f"{seed}-{number:04}", random.Random(f"{seed} {number}"))
    this.put_first()
    time.sleep(this.chance.uniform(*SEEN_SECONDS))
    while True:
        try:
            rhythm(this)
            break
        except FileNotFoundError:
            # The panel removed the file before it was opened.
            continue
    this.closed.append(this.last)
    report = {
        "file_name": this.path.name,
        "rhythm": rhythm.__name__,
        "closed": [data.decode() for data in this.closed],
        "parts": [data.decode() for data in this.parts],
    }
    return json.dumps(report)


def main(folder: str, seed: str, tries: str, threads: str) -> None:
    with ThreadPoolExecutor(int(threads)) as pool:
        # Only this thread prints. Several threads would mix long lines.
        for line in pool.map(lambda number: write(Path(folder), seed, number), range(int(tries))):
            print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
