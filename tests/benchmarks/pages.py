"""The pages to measure, and the processes that serve them.

Two servers are measured alternately, so that the load of the machine affects both alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

LIST = "/admin/sessions_app/browsersession/"
LIMITED = "limited:"
"""Prefix of an address that a user requests who sees eight of ten namespaces."""
STOCK = "/stock/sessions_app/browsersession/"
PAGES = {
    "dashboard": "/admin/",
    "metrics": "/metrics",
    "storage report": f"{LIST}storage/",
    "list with counts": f"{LIST}?_facets=True",
    "plain": f"{LIST}",
    "last page": f"{LIST}?p={{last}}",
    "expired": f"{LIST}?expired=yes",
    "of a namespace": f"{LIST}?namespace=team-3",
    "with a problem, not pinned": f"{LIST}?problem=any&pinned=no",
    "browser gone": f"{LIST}?browser=gone",
    "browser in use": f"{LIST}?browser=in_use",
    "browser unknown, not expired": f"{LIST}?browser=unknown&expired=no",
    "three filters": f"{LIST}?expired=no&browser_type=chromium&problem=none",
    "search for a part": f"{LIST}?q=cart",
    "search for a name": f"{LIST}?q={{name}}",
    "search for a host": f"{LIST}?q=127.0.0.1",
    "search and a filter": f"{LIST}?q=cart&expired=no",
    "search for a value of one session": f"{LIST}?q=cart/{{number}}",
    "search for two words": f"{LIST}?q=shop.example+cart/{{number}}",
    "search for a key and its value": f"{LIST}?q=page_url:https://shop.example/cart/{{number}}",
    "search in the archive": "/admin/sessions_app/archivedsession/?q=cart",
    "oldest first": f"{LIST}?o=6",
    "largest first": f"{LIST}?o=-7",
    "largest of those not expired": f"{LIST}?o=-7&expired=no",
    "by namespace": f"{LIST}?o=2",
    "by browser type": f"{LIST}?o=-5",
    "plain, without two namespaces": f"{LIMITED}{LIST}",
    "expired, without two namespaces": f"{LIMITED}{LIST}?expired=yes",
    "search for a part, without two namespaces": f"{LIMITED}{LIST}?q=cart",
    "storage report, without two namespaces": f"{LIMITED}{LIST}storage/",
    "plan of the expired": "{plan}",
    "plan of a selection": "{selection}",
}
"""Pages whose time must not grow: each has as many rows with a thousand sessions as with a million.

Dashboard and reports count a thousand sessions at once; for a million they show the latest snapshot.
"""

WITH_COUNTS = {
    "plain": f"{LIST}?_facets=True",
    "with a problem, not pinned": f"{LIST}?problem=any&pinned=no&_facets=True",
    "three filters": f"{LIST}?expired=no&browser_type=chromium&problem=none&_facets=True",
    "search and a filter": f"{LIST}?q=cart&expired=no&_facets=True",
}
"""Pages with counts beside their filters, compared with the same pages without."""

AGAINST_STOCK = {
    "plain": ("plain", ""),
    "filtered": ("of a namespace", "?namespace=team-3"),
    "searched": ("search for a part", "?q=cart"),
    "sorted": ("largest first", "?o=-5"),
    "last page": ("last page", "?p={stock_last}"),
}

ROUNDS = 25
STOCK_ROUNDS = 5


class Server:
    """A process that serves the pages of one database."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.screens", "serve"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def ask(self, address: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{address}\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def best_of(servers: list[Server], addresses: list[str], rounds: int = ROUNDS) -> tuple[list[float], int]:
    """Request pages alternately; return the shortest time of each, and the bytes of the first."""
    asked = list(zip(servers, addresses, strict=True))
    answers = [[server.ask(address) for server, address in asked] for _ in range(rounds)]
    times = [min(turn[i]["seconds"] for turn in answers) for i in range(len(asked))]
    return times, answers[0][0]["bytes"]
