"""Copies JSON values without their endpoints and credentials, to be shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sessions_app.session.endpoint import Mask, cut_between_words, mask_address
from sessions_app.session.json_values import endpoints_in, follows_credential_name, hidden_member
from sessions_app.session.secret_names import is_credential_name, is_endpoint_name

SHOWN_CHARACTERS = 20_000

# Deeper values are left out: mostly indentation would be shown.
_DEPTH = 60
_ADDRESS_LENGTH = 2_000


class MaskedJson(NamedTuple):
    """A copy of a JSON value; "…" replaces what is masked, and what follows the end of the copy."""

    value: Any
    is_truncated: bool


def mask_json(value: Any, *, endpoints: Iterable[str] = (), shows_credentials: bool = False) -> MaskedJson:
    """Copy the beginning of a JSON value, with endpoints shortened to their hosts, and credentials masked.

    Args:
        endpoints: Endpoints of the session; their parts, and those of endpoints in the value, are masked in
            every text.
        shows_credentials: Copy the values of names such as ``password`` too.
    The copy ends after ``SHOWN_CHARACTERS``, indented by two, so that the time does not depend on the value.
    """
    copier = _Copier(Mask(*endpoints, *endpoints_in(value)), shows_credentials=shows_credentials)
    copy = copier.copy(value, 0)
    return MaskedJson(copy, copier.is_truncated)


class _Copier:
    """Copies values until its characters are used up."""

    def __init__(self, mask: Mask, *, shows_credentials: bool) -> None:
        self.mask = mask
        self.shows_credentials = shows_credentials
        self.left = SHOWN_CHARACTERS
        self.is_truncated = False

    def copy(self, value: Any, depth: int) -> Any:
        self.left -= 2 * depth + 2
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (dict, list)):
            if value and depth == _DEPTH:
                self.is_truncated = True
                return "…"
            return self._list(value, depth) if isinstance(value, list) else self._object(value, depth)
        self.left -= len(str(value))
        return value

    def _list(self, items: list[Any], depth: int) -> list[Any]:
        copied: list[Any] = []
        for index, item in enumerate(items):
            if self._is_full:
                return [*copied, "…"]
            is_hidden = not self.shows_credentials and follows_credential_name(items, index)
            copied.append(self.copy("…" if is_hidden else item, depth + 1))
        return copied

    def _object(self, members: dict[str, Any], depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        hidden = hidden_member(members)
        for key, value in members.items():
            if self._is_full:
                return {**copied, "…": "…"}
            name = self._text(key)
            if (key == hidden or is_credential_name(key)) and not self.shows_credentials:
                copied[name] = _masked(value)
            elif is_endpoint_name(key):
                copied[name] = _shortened(value)
            else:
                copied[name] = self.copy(value, depth + 1)
        return copied

    @property
    def _is_full(self) -> bool:
        if self.left <= 0:
            self.is_truncated = True
        return self.left <= 0

    def _text(self, text: str) -> str:
        start = cut_between_words(text, max(self.left, 0))
        self.left -= len(start) + 4
        if len(start) == len(text):
            return self.mask(text)
        self.is_truncated = True
        return f"{self.mask(start)}…"


def _masked(value: Any) -> Any:
    """Return "…" for a credential; whether there is one may be shown."""
    return value if isinstance(value, bool) or not value else "…"


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return mask_address(value[:_ADDRESS_LENGTH])
    # A number may be a port.
    return "…" if value and isinstance(value, (dict, list)) else value
