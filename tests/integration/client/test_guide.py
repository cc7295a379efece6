"""Run every block of the guide unchanged, each in its own process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.session.document import parse_document, read_document
from tests.e2e.scripts import Project
from tests.factories import aged, archived, document_bytes, live
from tests.guide.blocks import GUIDE, Block, read_blocks
from tests.guide.programs import IMPORT, awaiting, run, run_text, url_of_database

pytestmark = pytest.mark.django_db(transaction=True)

GUIDE_SHA256 = "1e22d4425e3a156b0d0c1d11d11365e73b2fc6f9733d12b94d240e8ce626034c"
BLOCKS = {block.heading: block for block in read_blocks(GUIDE)}
MEGABYTE = 1024 * 1024

MANAGER = IMPORT + "manager = SessionManager()\n"
LOGGED = "import logging\nlogging.basicConfig(level=logging.INFO)\n" + IMPORT
COMPLETE = (
    "INFO:sessions_app.client.manager:Automatic cleanup complete: {} expired, {} invalid sessions removed"
)
NOT_POSSIBLE = "A maximum age of 0 days is not possible: choose more than 0 and at most 36,525."

AGES = {"fresh": 0, "days-02": 2, "days-04": 4, "days-08": 8, "days-31": 31}
FAULTS: dict[str, dict[str, Any]] = {
    "no-browser": {"browser_type": "safari"},
    "no-endpoint": {"cdp_url": ...},
    "no-id": {"session_id": ...},
    "no-time": {"last_accessed": "yesterday"},
}
CUT_OFF = b'{"session_id": "cut'
CAST = {*AGES, *FAULTS, "cut-off"}
COPIES = [f"copy-{number:02}" for number in range(41)]
OF_UNKNOWN_AGE = {"no-time", "cut-off"}
INVALID = {*FAULTS, "cut-off"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """The surroundings of a block and its expected effects.

    Args:
        before: Program text before the block.
        after: Program text after it.
        sizes: Bytes by which sessions are larger.
        copies: Number of fresh sessions in addition to the cast.
        removed: Exactly the sessions that are removed.
        printed: The whole output, or a function that computes it from the sessions before the block.
        logged: All lines on standard error, except those that report runs.
    """

    before: str = MANAGER
    after: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    copies: int = 0
    removed: Iterable[str] = ()
    printed: str | Callable[[], str] = ""
    logged: Iterable[str] = ()


def older_than(days: float) -> set[str]:
    return {name for name, age in AGES.items() if age >= days} | OF_UNKNOWN_AGE


def listing() -> str:
    """Return what the guide prints of each session."""
    lines = []
    for session in BrowserSession.objects.filter(namespace="default").order_by("name"):
        accessed = (read_document(bytes(session.document)) or {}).get("last_accessed", "N/A")
        lines += [f"Session: {session.name}", f"  Valid: {session.name not in INVALID}"]
        lines.append(f"  Last accessed: {accessed}")
    return "\n".join(lines) + "\n"


def freed() -> str:
    """Return what the guide prints of a cleanup of expired sessions."""
    sizes = dict(BrowserSession.objects.filter(namespace="default").values_list("name", "size_bytes"))
    gone = sum(sizes[name] for name in older_than(7))
    total = sum(sizes.values())
    text = f"Before: {total} bytes\nDeleted: 4 sessions\nAfter: {total - gone} bytes\nFreed: {gone} bytes\n"
    assert gone > 1000
    return text


LARGE = {"fresh": 4 * MEGABYTE, "days-02": 4 * MEGABYTE, "no-id": 4 * MEGABYTE}

CASES: dict[str, list[Case]] = {
    "1. Cleanup Expired Sessions": [
        Case(before="", removed=older_than(3), printed="Deleted 4 expired sessions\n"),
    ],
    "2. Cleanup Invalid Sessions": [
        Case(removed=INVALID, printed="Deleted 5 invalid sessions\n"),
    ],
    "3. Cleanup All Sessions": [
        Case(removed=CAST, printed="Deleted all 10 sessions\n"),
    ],
    "4. Automatic Cleanup on Initialization": [
        Case(
            before=LOGGED,
            removed=older_than(3) | INVALID,
            logged=[COMPLETE.format(4, 3), COMPLETE.format(1, 0)],
        ),
    ],
    "Check Session Count": [Case(printed="Total sessions: 10\n")],
    "Check Storage Size": [
        Case(sizes={"fresh": 3 * MEGABYTE}, printed="Storage size: 3.00 MB\n"),
    ],
    "Monitor and Cleanup Based on Size": [
        Case(sizes=LARGE, removed=older_than(1), printed="Storage limit exceeded, cleaning up...\n"),
        Case(),
    ],
    "1. Regular Cleanup in Production": [
        Case(
            before=IMPORT,
            after="print(*(job.at_time for job in schedule.get_jobs()))\nschedule.run_all()\n",
            removed=older_than(7) | INVALID,
            printed="02:00:00\nCleanup: 4 expired, 3 invalid\n",
        ),
    ],
    "3. Conditional Cleanup": [
        Case(
            before=IMPORT,
            sizes={"fresh": 3 * MEGABYTE, "days-02": 3 * MEGABYTE},
            copies=41,
            removed=older_than(3) | INVALID,
        ),
        Case(before=IMPORT, sizes={"fresh": 4 * MEGABYTE}, copies=40),
        # The second condition is evaluated after the first cleanup.
        Case(before=IMPORT, sizes={"days-08": 6 * MEGABYTE}, copies=41, removed=older_than(3)),
    ],
    "4. Graceful Cleanup with Logging": [
        Case(
            after="print(safe_cleanup(manager, max_age_days=0), safe_cleanup(manager))\n",
            removed=older_than(7) | INVALID,
            printed="0 7\n",
            logged=[
                f"ERROR:__main__:Cleanup failed: {NOT_POSSIBLE}",
                "INFO:__main__:Cleanup successful: 4 expired, 3 invalid sessions",
            ],
        ),
    ],
    "Strategy 1: Aggressive Cleanup (Development)": [
        Case(before=LOGGED, removed=older_than(1) | INVALID, logged=[COMPLETE.format(6, 3)]),
    ],
    "Strategy 2: Conservative Cleanup (Production)": [
        Case(before=LOGGED, removed=older_than(30) | INVALID, logged=[COMPLETE.format(3, 3)]),
    ],
    "Strategy 3: Manual Cleanup (CI/CD)": [Case(before=IMPORT, removed=CAST)],
    "Strategy 4: Size-Based Cleanup": [
        Case(
            after="for size in (13, 10, 7, 3):\n"
            "    cleanup_by_size(manager, max_size_mb=size)\n"
            "    print(manager.get_session_count())\n",
            sizes=dict.fromkeys(("fresh", "days-02", "days-08", "no-id"), 3 * MEGABYTE),
            removed=older_than(1) | INVALID,
            # Unchanged; without invalid ones; without those over 7 days old; without those over 1 day old.
            printed="10\n5\n3\n1\n",
        ),
    ],
    "Issue: Storage size not decreasing": [
        Case(sizes={"days-08": 1000}, removed=older_than(7), printed=freed),
    ],
    "Issue: Cleanup not removing sessions": [Case(printed=listing)],
    "Issue: Auto-cleanup not working": [
        Case(before=LOGGED, removed=older_than(7) | INVALID, logged=[COMPLETE.format(4, 3)]),
    ],
}
IN_TESTS_OF_THEIR_OWN = {"2. Test Environment Cleanup", "Validation Before Cleanup"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, url_of_database())


def store(name: str, data: bytes, *, namespace: str = "default") -> None:
    values = {**parse_document(data, time_zone=UTC)._asdict(), "document": data}
    BrowserSession.objects.create(namespace=namespace, name=name, size_bytes=len(data), **values)


def fill(case: Case) -> None:
    """Add the cast and an old session of another namespace to the database."""
    for name in CAST - {"cut-off"}:
        changes = {**aged(AGES.get(name, 0)), **FAULTS.get(name, {})}
        state = "." * case.sizes.get(name, 0)
        store(name, document_bytes(**changes, metadata={"state": state}))
    for name in COPIES[: case.copies]:
        store(name, document_bytes(**aged(0)))
    store("cut-off", CUT_OFF)
    store("of-others", document_bytes(**aged(365)), namespace="shop")


def assert_removed(removed: Iterable[str], *, copies: int = 0) -> None:
    """Check that exactly these sessions are archived, by runs with the right trigger and actor."""
    assert set(live()) == {*CAST - set(removed), *COPIES[:copies], "of-others"}
    assert archived() == sorted(removed)
    assert set(CleanupRun.objects.values_list("trigger", "state")) <= {("api", "succeeded")}


def test_the_guide_is_unchanged() -> None:
    assert hashlib.sha256(GUIDE.read_bytes()).hexdigest() == GUIDE_SHA256
    assert len(read_blocks(GUIDE)) == len(BLOCKS) == 19
    assert {*CASES, *IN_TESTS_OF_THEIR_OWN} == set(BLOCKS)


@pytest.mark.parametrize(
    ("block", "case"),
    [
        pytest.param(BLOCKS[heading], case, id=heading if number == 1 else f"{heading} ({number})")
        for heading, cases in CASES.items()
        for number, case in enumerate(cases, 1)
    ],
)
def test_a_block_has_the_documented_effect(project: Project, block: Block, case: Case) -> None:
    fill(case)
    expected = case.printed if isinstance(case.printed, str) else case.printed()
    printed, logged = run_text(project, case.before + block.text + case.after)
    assert printed == expected
    lines = [line for line in logged.splitlines() if not line.startswith("INFO:sessions_app.cleanup.")]
    assert lines == list(case.logged)
    assert_removed(case.removed, copies=case.copies)


def test_the_fixture_cleans_up_after_all_tests(project: Project) -> None:
    fill(Case())
    (project.directory / "conftest.py").write_text(BLOCKS["2. Test Environment Cleanup"].text)
    (project.directory / "test_shop.py").write_text(
        f"{IMPORT}\n\ndef test_the_sessions_are_there():\n"
        "    assert SessionManager().get_session_count() == 10\n"
        "\n\ndef test_they_are_still_there():\n    assert len(SessionManager().list_sessions()) == 10\n"
    )
    printed, _ = run(project, "-m", "pytest", "-s", "-p", "no:cacheprovider")
    assert "2 passed" in printed
    assert "\nTest cleanup: Deleted 10 sessions\n" in printed
    assert_removed(CAST)


def test_an_unknown_session_is_not_restored(project: Project) -> None:
    fill(Case())
    block = BLOCKS["Validation Before Cleanup"]
    assert run_text(project, awaiting(block.text)) == (
        "Session is invalid, creating new session...\n",
        "",
    )
    assert_removed(())
