"""Spans of SQL statements by OpenTelemetry's conventions: what they do to which table, without their text.

Source: https://opentelemetry.io/docs/specs/semconv/database/postgresql/.
"""

import re
from functools import lru_cache

from taskforce.core.interfaces.tracing import SpanKind, SpanStart

_SYSTEM = {"db.system.name": "postgresql"}
# Not locks (FOR UPDATE, FOR NO KEY UPDATE), nor what follows a conflict (DO UPDATE).
_CHANGE = re.compile(r"\b(INSERT INTO|(?<!FOR )(?<!KEY )(?<!DO )UPDATE|DELETE FROM) (\w+)")
_READ = re.compile(r"\bFROM (?!unnest\b|LATERAL\b)(\w+)")
_FIRST = re.compile(r"\w+")
_TABLES = 3


# Most statements are constants; others are lists with filters, of which there are a few hundred.
@lru_cache(maxsize=2_000)
def statement_span(text: str) -> SpanStart:
    """Returns the span of a statement.

    Args:
        text: The statement's text, which is not recorded.

    Returns:
        A span named by the changes that it makes, for example `INSERT transcript, UPDATE runs`; of one that changes
        nothing, by the table that it reads first.
    """
    changes = list(dict.fromkeys(f"{verb.split()[0]} {table}" for verb, table in _CHANGE.findall(text)))
    read = _READ.search(text)
    first = _FIRST.search(text)
    verb = first[0].upper() if first else "SELECT"
    summary = ", ".join(changes[:_TABLES]) or (f"SELECT {read[1]}" if read else verb)
    return _span(summary)


def _span(summary: str) -> SpanStart:
    facts = {"db.operation.name": summary.partition(" ")[0], "db.query.summary": summary}
    return SpanStart(summary, SpanKind.CLIENT, {**_SYSTEM, **facts})


BEGIN, COMMIT = _span("BEGIN"), _span("COMMIT")
