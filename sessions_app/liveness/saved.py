"""The browsers of sessions as they were saved: identity, and the machine that can reach each."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from django.conf import settings

from sessions_app.liveness.due import ANY_MACHINE, announced_machines, machine_of
from sessions_app.models import BrowserSession
from sessions_app.session.document import read_document
from sessions_app.session.info import SessionInfo


class SavedBrowser(NamedTuple):
    """The stored browser of a session; ``machine`` is None if it is unknown."""

    pk: int
    name: str
    cdp_url: str
    target_id: str
    machine: str | None

    @property
    def is_here(self) -> bool:
        """Whether this machine may contact the browser."""
        return self.machine in (ANY_MACHINE, settings.RAPTOR_MACHINE)


def saved_browsers(keys: Collection[int]) -> list[SavedBrowser]:
    """Return the browsers of the existing sessions, ordered by primary key."""
    announced = announced_machines()
    columns = ("pk", "name", "content__cdp_url", "content__document", "machine", "directory__machine")
    rows = BrowserSession.objects.filter(pk__in=keys).order_by("pk").values_list(*columns)
    return [
        SavedBrowser(
            pk,
            name,
            cdp_url or "",
            SessionInfo.from_dict(read_document(bytes(document or b"")) or {}).page_target_id,
            machine_of(cdp_url or "", directory_machine=of_directory, claimed=claimed, announced=announced),
        )
        for pk, name, cdp_url, document, claimed, of_directory in rows
    ]
