"""Number of tries: small in ``make test``, large in ``make stress``."""

from __future__ import annotations

import os

TRIES_VARIABLE = "RAPTOR_TEST_TRIES"

TRIES = int(os.environ.get(TRIES_VARIABLE) or 300)
"""Number of changes between preview and end of a run; the other numbers depend on it."""

IS_FULL = TRIES >= 10_000
KILLS = max(TRIES // 100, 6)
PAIRS = max(TRIES // 200, 5)
TAKEOVERS = max(TRIES // 400, 3)
UNDOS = max(TRIES // 400, 3)
RESTARTS = max(TRIES // 1_000, 1)
TORN_WRITES = 1_000 if IS_FULL else 60
CHECKS = 100_000 if IS_FULL else 10_000
"""Questions whether a file is open for writing, beside a program that opens it all the time."""
SCRAPES = 1_000 if IS_FULL else 200
