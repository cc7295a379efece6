"""The states of browsers, for screens and commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet, Sum

from sessions_app.browsers.probe import Liveness
from sessions_app.models import BrowserSession, Probe
from sessions_app.session.browser_states import RUNNING, BrowserState, has_state, in_state


@dataclass(frozen=True)
class Browser:
    """The result of the last probe; empty if the current endpoint has not been probed."""

    liveness: Liveness = Liveness.UNKNOWN
    is_in_use: bool | None = None
    probed_at: datetime | None = None
    reason: str = ""
    is_gone: bool = False
    memory_bytes: int | None = None
    machine: str = ""

    @property
    def state(self) -> BrowserState:
        if self.liveness is Liveness.ALIVE:
            return BrowserState.IN_USE if self.is_in_use else BrowserState.ALIVE
        return BrowserState.GONE if self.is_gone else BrowserState.UNKNOWN

    def to_json(self) -> dict[str, Any]:
        return {
            "browser": self.liveness.value,
            "in_use": self.is_in_use,
            "probed_at": self.probed_at.isoformat() if self.probed_at else None,
        }


def browser_of(session: BrowserSession) -> Browser:
    """Return the browser of a session, which should be loaded with its ``probe``."""
    probe: Probe | None = getattr(session, "probe", None)
    # Writing another endpoint clears the state: a probe of the earlier one does not apply.
    if probe is None or session.browser_state is None or not probe.result:
        return Browser(machine=probe.machine if probe else "")
    return Browser(
        Liveness(probe.result),
        probe.is_in_use,
        probe.probed_at,
        probe.reason,
        session.browser_state == BrowserState.GONE,
        probe.memory_bytes,
        probe.machine,
    )


def first_in_state(
    sessions: QuerySet[BrowserSession], *states: BrowserState, as_of: datetime, bound: int
) -> tuple[list[int], bool]:
    """Return the keys of sessions whose browser is in one of these states, and whether there are more.

    Args:
        bound: Maximum rows to read.
    """
    # Two queries: the bound limits the rows of the index that are read.
    keys = list(sessions.filter(in_state(*states)).order_by().values_list("pk", flat=True)[: bound + 1])
    current = sessions.filter(has_state(*states, as_of=as_of), pk__in=keys[:bound]).order_by()
    return list(current.values_list("pk", flat=True)), len(keys) > bound


def living_browsers(
    sessions: QuerySet[BrowserSession], *, as_of: datetime, bound: int | None = None
) -> tuple[int, int]:
    """Return the number of sessions whose browsers answered the last probe, and their memory in bytes.

    The memory covers only browsers on machines whose worker may read it.

    Args:
        bound: Maximum browsers to read. If more browsers are alive, the returned number is ``bound + 1``.
    """
    if bound is None:
        living = sessions.filter(has_state(*RUNNING, as_of=as_of)).order_by()
        found = living.aggregate(count=Count("pk"), bytes=Sum("probe__memory_bytes", default=0))
        return found["count"], found["bytes"]
    keys, has_more = first_in_state(sessions, *RUNNING, as_of=as_of, bound=bound)
    memory = Probe.objects.filter(pk__in=keys).aggregate(bytes=Sum("memory_bytes", default=0))
    return bound + 1 if has_more else len(keys), memory["bytes"]
