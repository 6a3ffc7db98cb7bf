"""The newest migration, read from the files."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from cli.stack.schema import newest_revision

MIGRATIONS = Path(__file__).parents[3] / "models" / "migrations"


def test_it_is_the_one_that_alembic_would_name() -> None:
    assert newest_revision(MIGRATIONS / "versions") == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_it_is_the_end_of_the_chain_whatever_the_files_are_called(home: Path) -> None:
    (home / "__init__.py").touch()
    (home / "z.py").write_text("revision = 'a'\ndown_revision = None\n")
    (home / "a.py").write_text("revision: str = 'b'\ndown_revision: str | None = 'a'\n")
    assert newest_revision(home) == "b"


def test_a_merge_ends_two_branches(home: Path) -> None:
    (home / "1.py").write_text("revision = 'a'\ndown_revision = None\n")
    for name in ("b", "c"):
        (home / f"{name}.py").write_text(f"revision = '{name}'\ndown_revision = 'a'\n")
    assert newest_revision(home) is None
    (home / "d.py").write_text("revision = 'd'\ndown_revision = ('b', 'c')\n")
    assert newest_revision(home) == "d"


@pytest.mark.parametrize("source", ["revision = chosen()\n", "down_revision = None\n", "revision =\n"])
def test_what_cannot_be_read_for_certain_is_left_to_alembic(home: Path, source: str) -> None:
    (home / "1.py").write_text("revision = 'a'\ndown_revision = None\n")
    (home / "2.py").write_text(source)
    assert newest_revision(home) is None


def test_without_migrations_there_is_none(home: Path) -> None:
    assert newest_revision(home) is None
