"""Show one session: everything except its endpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sessions_app.liveness import Browser, browser_of
from sessions_app.management.listing import Evaluation
from sessions_app.management.output import bytes_of, local, printable_name
from sessions_app.models import ArchivedSession, BrowserSession
from sessions_app.session.document import read_document
from sessions_app.session.endpoint import Endpoint
from sessions_app.session.json_values import endpoints_in
from sessions_app.session.masked_json import MaskedJson, mask_json
from sessions_app.session.problems import SessionWarning
from sessions_app.text import did_you_mean, printable

_LONGEST_VALUE = 200
_NAMES_COMPARED = 5000


@dataclass(frozen=True)
class SessionDetails:
    """A session, and how it is evaluated."""

    session: BrowserSession
    evaluation: Evaluation

    @property
    def is_expired(self) -> bool:
        return bool(self.session.idle_since < self.evaluation.cutoff)

    @property
    def warnings(self) -> SessionWarning:
        return self.evaluation.warnings(self.session)

    @property
    def browser(self) -> Browser:
        return browser_of(self.session)

    @property
    def endpoint(self) -> str:
        """Host and port; the rest of the address is a password."""
        return str(Endpoint.parse(self.session.cdp_url))

    @cached_property
    def _metadata(self) -> MaskedJson:
        content = read_document(self.session.document) or {}
        endpoints = [self.session.cdp_url, *endpoints_in(content)]
        return mask_json(content.get("metadata"), endpoints=endpoints)

    @property
    def metadata(self) -> Any:
        """The beginning of the document's metadata, with endpoints and credentials masked."""
        # JSON has no NaN or infinity; show them as strings.
        return json.loads(json.dumps(self._metadata.value), parse_constant=lambda name: str(float(name)))

    def to_json(self) -> dict[str, Any]:
        session = self.session
        report = {
            "namespace": session.namespace,
            "name": session.name,
            "session_id": session.shown_session_id,
            "browser_type": session.shown_browser_type,
            "endpoint": self.endpoint,
            "created_at": session.created_at and session.created_at.isoformat(),
            "last_accessed": session.last_accessed and session.last_accessed.isoformat(),
            "size_bytes": session.size_bytes,
            "pinned": session.is_pinned,
            "expired": self.is_expired,
            "directory": session.directory and session.directory.path,
            "file": session.file_name or None,
            "problems": sorted(session.problem_set.codes),
            "warnings": sorted(self.warnings.codes),
            **self.browser.to_json(),
            "metadata": self.metadata,
        }
        return {**report, "metadata_is_truncated": True} if self._metadata.is_truncated else report

    def _describe_browser(self) -> str:
        browser = self.browser
        if browser.probed_at is None:
            return "not probed yet"
        state = "gone" if browser.is_gone else browser.liveness.value.replace("_", " ")
        return f"{state}{', in use' * (browser.is_in_use is True)}, probed at {local(browser.probed_at)}"

    def to_lines(self) -> list[str]:
        session = self.session
        facts = {
            "Session id": session.shown_session_id,
            "Browser type": session.shown_browser_type,
            "Browser at": self.endpoint,
            "Browser": self._describe_browser(),
            "Created": local(session.created_at),
            "Last accessed": local(session.last_accessed) + ", expired" * self.is_expired,
            "Size": bytes_of(session.size_bytes),
            "Pinned": "yes" if session.is_pinned else "no",
            "File": f"{session.directory.path}/{session.file_name}" if session.directory else "",
        }
        lines = [printable_name(str(session))]
        lines += [f"  {label + ':':15} {printable(value) or 'none'}" for label, value in facts.items()]
        for kind, found in (("Problem", session.problem_set), ("Warning", self.warnings)):
            for member in found:
                lines += [f"{kind}: {member.sentence} ({member.code})", f"  {member.advice}"]
        metadata = self.metadata
        if metadata is not None:
            lines.append("Metadata:")
            items = metadata.items() if isinstance(metadata, dict) else [("", metadata)]
            lines += [f"  {printable(key)}: {_shorten(value)}" for key, value in items]
        return lines


def find_similar(name: str, namespace: str) -> str:
    """Return where a session of this name is, or similar names; blank if there are none."""
    elsewhere = BrowserSession.objects.filter(name=name).values_list("namespace", flat=True)[:3]
    if elsewhere:
        return f"There is one in: {', '.join(map(printable, elsewhere))} (--namespace)."
    archived = ArchivedSession.objects.filter(namespace=namespace, name=name).first()
    if archived:
        return f"It was removed by run {archived.run_id} and is in the archive."
    names = BrowserSession.objects.filter(namespace=namespace).order_by("name").values_list("name", flat=True)
    # Comparing is slow: compare a bounded number of names, those with the same beginning if there are any.
    candidates = names.filter(name__istartswith=name[:2])[:_NAMES_COMPARED] or names[:_NAMES_COMPARED]
    return printable(did_you_mean(name, candidates))


def _shorten(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST_VALUE:
        text = f"{text[:_LONGEST_VALUE]}… ({len(text):,} characters)"
    return printable(text)
