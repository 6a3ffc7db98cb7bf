"""Which schema the code wants: the newest migration, read from the files in milliseconds, without Alembic."""

import ast
from pathlib import Path

_NAMES = {"revision", "down_revision"}


def newest_revision(versions: Path) -> str | None:
    """Finds the one migration that no other follows.

    Args:
        versions: The directory of the migrations.

    Returns:
        Its revision, or None where that is not certain: no migration, several ends, a file that computes its names.
        Then Alembic has to say.
    """
    revisions: set[str] = set()
    followed: set[str] = set()
    for path in versions.glob("*.py"):
        if path.name == "__init__.py":
            continue
        links = _links(path.read_text(encoding="utf-8"))
        if links is None:
            return None
        revision, before = links
        revisions.add(revision)
        followed |= before
    ends = revisions - followed
    return ends.pop() if len(ends) == 1 else None


def _links(source: str) -> tuple[str, set[str]] | None:
    try:
        assigned = _assignments(ast.parse(source))
        found = {name: ast.literal_eval(value) for name, value in assigned if name in _NAMES and value}
    except (SyntaxError, ValueError):
        return None
    revision, before = found.get("revision"), found.get("down_revision")
    if not isinstance(revision, str):
        return None
    # A migration that merges two heads names both.
    several = before if isinstance(before, tuple | list) else (before,)
    return revision, {name for name in several if isinstance(name, str)}


def _assignments(module: ast.Module) -> list[tuple[str, ast.expr | None]]:
    found: list[tuple[str, ast.expr | None]] = []
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            found += [(target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name)]
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found.append((statement.target.id, statement.value))
    return found
