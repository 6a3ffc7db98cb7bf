"""Names of statements, without their text."""

import pytest

from taskforce.infrastructure.persistence.statement_spans import statement_span


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SELECT a FROM runs WHERE b = $1 FOR NO KEY UPDATE", "SELECT runs"),
        ("SELECT a FROM runs JOIN users ON true FOR UPDATE SKIP LOCKED", "SELECT runs"),
        ("INSERT INTO users (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = $1", "INSERT users"),
        ("WITH x AS (INSERT INTO a (b) VALUES ($1)), y AS (UPDATE c SET d = $2) SELECT", "INSERT a, UPDATE c"),
        ("DELETE FROM users WHERE a = 'canary'", "DELETE users"),
        ("SELECT found.* FROM (SELECT 1) e CROSS JOIN LATERAL (SELECT a FROM runs) found", "SELECT runs"),
        ("SELECT set_config('canary', 'on', true)", "SELECT"),
        ("", "SELECT"),
    ],
)
def test_a_statement_is_named_by_what_it_does(text: str, name: str) -> None:
    start = statement_span(text)
    assert start.name == name
    assert dict(start.attributes) == {
        "db.system.name": "postgresql",
        "db.operation.name": name.partition(" ")[0],
        "db.query.summary": name,
    }
