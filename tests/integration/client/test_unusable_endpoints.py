"""Sessions whose endpoint is not the address of a browser."""

from __future__ import annotations

import asyncio

import pytest
from django.conf import settings

from raptor.core.exceptions import SessionException
from raptor.core.session_manager import SessionManager
from tests.factories import make_session


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("work", ["restore_session", "close_session", "launch_session"])
@pytest.mark.parametrize("cdp_url", [5, None, [], "ws://[", "ws://127.0.0.1:9222/\ud800", "ws://[::1%lo]:9/"])
def test_an_unusable_endpoint_is_reported(
    cdp_url: object, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_session("cart", namespace="shop", cdp_url=cdp_url)
    monkeypatch.setattr(settings, "RAPTOR_CHROMIUM", "/missing/chromium")

    async def tried() -> None:
        async with SessionManager(namespace="shop") as manager:
            await getattr(manager, work)("cart")

    # A launch starts a new browser, and fails here because there is no program.
    with pytest.raises(SessionException, match="missing/chromium" if work == "launch_session" else "cart"):
        asyncio.run(tried())
