"""The list in order of status: invalid sessions, then expired sessions, then all others.

Expiry depends on the current time, so no index can have this order. Instead, each status is a range of an
index in order of age: ``session_invalid``, and two ranges of ``session_idle`` or the index for the filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sessions_app.admin.changelist import BOUND, Listing
from sessions_app.admin.sessions.index_choice import BY_AGE, ListQuery
from sessions_app.session.selection import Selection

STATUS = "problems"
"""Name of the order in the URL of the list."""

_STATUSES = ({"problem": "any"}, {"problem": "none", "expired": "yes"}, {"problem": "none", "expired": "no"})


def by_status(
    selection: Selection,
    build_query: Callable[[Selection], ListQuery],
    build_listing: Callable[[ListQuery, tuple[str, ...]], Listing],
    *,
    is_backwards: bool,
) -> Listing:
    """Return the rows of a selection by status, within a status the most recently accessed first."""
    found = Listing([])
    for part in parts_of(selection, is_backwards=is_backwards):
        if len(found.ids) >= BOUND:
            found.is_truncated = True
            break
        listing = build_listing(build_query(part), BY_AGE)
        found.ids += listing.ids
        found.is_truncated |= listing.is_truncated
        found.is_partial |= listing.is_partial
        found.notes += [note for note in listing.notes if note not in found.notes]
    found.is_truncated |= len(found.ids) > BOUND
    del found.ids[BOUND:]
    return found


def parts_of(selection: Selection, *, is_backwards: bool) -> Iterator[Selection]:
    """Yield the selection limited to each status, in order, if its filters allow the status."""
    for status in reversed(_STATUSES) if is_backwards else _STATUSES:
        part: Selection | None = selection
        for name, value in status.items():
            part = part and _limited(part, name, value)
        if part is not None:
            yield part


def _limited(selection: Selection, name: str, value: str) -> Selection | None:
    """Return a selection with an additional filter, or None if the selection excludes its value."""
    own = getattr(selection, name)
    if own in ("", value):
        return selection.taking(name, value)
    # Any other value of “problem” is a specific problem.
    return selection if name == "problem" and value == "any" and own != "none" else None
