"""Migrations meet tables that are in use: an index on one that exists is built concurrently."""

import re
from pathlib import Path

import pytest

from models.migrations import runner

VERSIONS = Path(runner.__file__).parent / "versions"
BEFORE = frozenset(
    {
        "0002_access", "0005_retention", "0007_approval_engine", "0009_catalog",
        "0016_runs_to_cancel", "0019_answers_to_questions", "0021_messages_told",
    }
)  # fmt: skip
"""Migrations of before the rule, which have run everywhere; none is ever added."""
_MADE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.IGNORECASE)
_INDEXED = re.compile(
    r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?[\w{}]+\"?\s*\"?ON (?:ONLY )?([\w{}]+)", re.IGNORECASE
)
_CONSTRAINED = re.compile(
    r"ALTER TABLE (?:ONLY )?(\w+) ADD (?:CONSTRAINT \w+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE) ?(?!USING INDEX)",
    re.IGNORECASE,
)
_BY_ALEMBIC = re.compile(r"op\.create_(?:index|unique_constraint|primary_key)\(")


def in_the_way(source: str) -> list[str]:
    """The tables of before on which a migration's upgrade builds an index while nobody can write to them."""
    upgrade = " ".join(source.partition("def downgrade")[0].split())
    # What stands in two literals one after the other is one statement.
    upgrade = upgrade.replace('" "', "").replace('" f"', "")
    made = set(_MADE.findall(upgrade))
    found = [*_INDEXED.findall(upgrade), *_CONSTRAINED.findall(upgrade)]
    return sorted({table for table in found if table not in made} | set(_BY_ALEMBIC.findall(upgrade)))


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("0*.py")), ids=lambda path: path.stem)
def test_an_index_on_a_table_of_before_is_built_concurrently(path: Path) -> None:
    found = in_the_way(path.read_text())
    if path.stem in BEFORE:
        assert found, "It needs no exception any more."
    else:
        assert found == [], "Use models.migrations.indexes.build_index, which holds up nobody's writes."


@pytest.mark.parametrize(
    ("source", "tables"),
    [
        ('op.execute("CREATE INDEX a ON runs (tenant_id)")', ["runs"]),
        ('op.execute(\n    "CREATE UNIQUE INDEX a "\n    "ON runs (tenant_id)"\n)', ["runs"]),
        ('op.execute("ALTER TABLE runs ADD CONSTRAINT a UNIQUE (tenant_id)")', ["runs"]),
        ('X = """\nCREATE TABLE fresh (\n);\nCREATE INDEX a ON fresh (tenant_id);\n"""', []),
        ('for name, on in INDEXES.items():\n    op.execute(f"CREATE INDEX {name} ON {on}")', ["{on}"]),
        ('op.create_index("a", "runs", ["tenant_id"])', ["op.create_index("]),
        ('build_index("a", "runs (tenant_id)")', []),
        ('op.execute("x")\ndef downgrade(): op.execute("CREATE INDEX a ON runs (tenant_id)")', []),
    ],
)
def test_the_rule_would_notice(source: str, tables: list[str]) -> None:
    assert in_the_way(source) == tables
