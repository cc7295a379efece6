"""Searches sessions: by the beginning of a name, through an index, or by parts of texts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import and_
from typing import Any

from django.db.models import CharField, F, Func, Q, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Concat, Lower, StrIndex
from django.db.models.lookups import Contains, GreaterThan, StartsWith

from sessions_app.session.search_text import LABEL_SEPARATOR

LONGEST_TEXT = 256
"""One character more than the longest name or session id."""

_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def begins_with(text: str) -> Q:
    """Match sessions whose names begin with a text, case-sensitively."""
    return Q(name__begins=text)


class Indexed(Func):
    """A column of the search index (``models.SessionSearch``) for a session; NULL until it is indexed.

    A scalar subquery instead of a relation, so that statements which remove sessions may contain it.
    """

    output_field = TextField()

    def __init__(self, column: str, key: Combinable | None = None) -> None:
        super().__init__(key or F("pk"), column=column)

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **context: Any
    ) -> Any:
        key, params = compiler.compile(self.source_expressions[0])
        column = f"indexed.{connection.ops.quote_name(self.extra['column'])}"
        source = f"sessions_app_sessionsearch AS indexed WHERE indexed.session_key = {key}"
        return f"(SELECT {column} FROM {source})", params  # noqa: S608


def mentions(text: str, *, in_metadata: bool = True) -> Q:
    """Match sessions with a text in name, session id, host or a metadata value, case-insensitively.

    Parts of endpoints that no screen shows are not searched: they could be guessed letter by letter.
    """
    # Extract the host only from endpoints that contain the text.
    in_host = Q(shown_endpoint__mentions=text) & Q(_Mentions(ShownHost("shown_endpoint"), text))
    found = Q(name__mentions=text) | Q(session_id__mentions=text) | in_host
    return found | Q(Contains(Indexed("text"), text.lower())) if in_metadata else found


def mentions_all(words: Iterable[str]) -> Q:
    """Match sessions that mention each word; ``key:value`` also finds values of a key that begin so."""
    return reduce(and_, (mentions(word) | _has_label_like(word) for word in words), Q())


def _has_label_like(word: str) -> Q:
    key, colon, value = word.partition(":")
    return Q(_Mentions(_label_lines(), f"\n{key}{LABEL_SEPARATOR}{value}")) if colon else Q(pk__in=[])


def _label_lines() -> Combinable:
    line_break = Value("\n", output_field=TextField())
    return Concat(line_break, Indexed("labels"), line_break, output_field=TextField())


@CharField.register_lookup
@TextField.register_lookup
class _Mentions(Contains):
    """Case-insensitive ``LIKE '%text%'``; on PostgreSQL ``LOWER`` costs a third less than ``ILIKE``."""

    lookup_name = "mentions"

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return str(connection.operators["contains"] % rhs)

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        return type(self)(Lower(self.lhs), self.rhs.lower()).as_sql(compiler, connection)


class ByteOrder(Func):
    """A text that is compared by code points, regardless of the database's collation.

    So one index serves both the order by name and the search for the beginning of a name.
    """

    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template='(%(expressions)s COLLATE "C")', **context)


def has_label(key: str, value: str) -> Q:
    """Match sessions with a short metadata value under a key. See ``search_text.labels_of``."""
    # Unlike LIKE, this is case-sensitive on SQLite and needs no escaping.
    return Q(GreaterThan(StrIndex(_label_lines(), Value(f"\n{key}{LABEL_SEPARATOR}{value}\n")), Value(0)))


@CharField.register_lookup
class _BeginsWith(StartsWith):
    """``LIKE 'text%'``, which PostgreSQL reads as a range of the index of names; on SQLite, whose ``LIKE``
    ignores case, the range itself."""

    lookup_name = "begins"

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return str(connection.operators["startswith"] % rhs)

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        return StartsWith(ByteOrder(self.lhs), self.rhs).as_sql(compiler, connection)

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        column, params = compiler.compile(self.lhs)
        beyond = _first_beyond(self.rhs)
        if not beyond:
            return f"{column} >= %s", [*params, self.rhs]
        return f"({column} >= %s AND {column} < %s)", [*params, self.rhs, *params, beyond]


def _first_beyond(text: str) -> str:
    """Return the first text, by code points, after all that begin with a text; blank if there is none."""
    kept = text.rstrip(chr(_LAST_CHARACTER))
    if not kept:
        return ""
    code = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if code in _SURROGATES else code)


class ShownHost(Func):
    """Host and port of an endpoint as ``Endpoint`` shows them, as SQL; NULL if they are not plain.

    An address needs a known scheme, and letters, digits, dots, dashes and a port of at most five digits
    before its path. A user, a query or a malformed port may be the secret.
    """

    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        url, params = compiler.compile(self.source_expressions[0])
        rest = f"SUBSTR({url}, INSTR({url}, '://') + 3)"
        host = f"SUBSTR({rest}, 1, INSTR({rest} || '/', '/') - 1)"
        sql = (
            f"CASE WHEN SUBSTR({url}, 1, INSTR({url}, '://')) IN ('ws:', 'wss:', 'http:', 'https:') "
            f"AND NOT ({host} GLOB '*[^a-zA-Z0-9.:-]*' OR {host} GLOB '*:*[^0-9]*' "
            f"OR {host} GLOB '*:??????*') THEN {host} END"
        )
        return sql, list(params) * sql.count(url)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        url, params = compiler.compile(self.source_expressions[0])
        host = f"SPLIT_PART({url}, '/', 3)"
        sql = (
            f"CASE WHEN SPLIT_PART({url}, '/', 1) IN ('ws:', 'wss:', 'http:', 'https:') "
            f"AND SPLIT_PART({url}, '/', 2) = '' "
            f"AND {host} ~ '^[a-zA-Z0-9.-]*(:[0-9]{{0,5}})?$' THEN {host} END"
        )
        return sql, list(params) * sql.count(url)
