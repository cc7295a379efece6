"""The columns of documents, and what a session's row derives from them."""

from __future__ import annotations

from typing import Any

from sessions_app.session.endpoint import shown_endpoint

CONTENT_COLUMNS = ("cdp_url", "document", "last_good_document")
"""The columns of ``SessionDocument``."""


def endpoint_columns(cdp_url: str) -> dict[str, Any]:
    """Return the columns of a session's row that are derived from its endpoint."""
    return {"endpoint_length": len(cdp_url.strip()), "shown_endpoint": shown_endpoint(cdp_url)}
