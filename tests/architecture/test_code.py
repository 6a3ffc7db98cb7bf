"""Where things stand in the code."""

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest

from tests.architecture.conftest import REPOSITORY, Source, sources

LONGEST_FILE = 500
"""A wall. 400 lines are a sign that a file holds two nouns; it is split by noun, not folded to fit."""
LONG_FUNCTION = 50
MEDIAN_FUNCTION = 15

BUILDS_AUDIT_EVENTS = {
    "taskforce/application/identity/principals.py": "what an actor does",
    "taskforce/application/audit/events.py": "what the product does by itself, and what it refuses",
    "taskforce/application/approvals/history.py": "what happened to a request, translated",
}
"""Who makes audit events, and of what."""
ROUTES_REQUIRE = {
    "api/routes/agents.py require_on": "a second agent, named in the query, is read by the guard's own rule",
    "api/routes/runs.py require_run": "finds the run; the name says that it must be there",
}
"""What routes call that requires something, and why it is no decision of theirs."""
SQL_LIVES_IN = ("models/", "taskforce/infrastructure/persistence/")
SQL_EXCEPTIONS = {
    "taskforce/infrastructure/config/settings.py": "takes URLs apart",
    "cli/doctor.py": "asks whether a database answers",
}
"""Who else touches SQLAlchemy, and what for."""
ASYNCPG_LIVES_IN = {
    "taskforce/infrastructure/persistence/connection.py": "sends statements",
    "taskforce/infrastructure/persistence/database.py": "the pool, and the driver's own errors",
    "taskforce/infrastructure/persistence/notifications.py": "LISTEN and NOTIFY",
    "taskforce/infrastructure/persistence/sqlstates.py": "what the driver's errors mean",
}
STATEMENT = re.compile(
    r"\s*(SELECT\s.+\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|(CREATE|ALTER|DROP)\s+(TABLE|INDEX|POLICY)\s)",
    re.DOTALL,
)


def importing(*names: str) -> set[str]:
    return {one.path for one in sources() if any(_within(module, names) for module in one.imports())}


def _within(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def test_sql_stands_in_repositories_only() -> None:
    others = {path for path in importing("sqlalchemy", "sqlmodel", "alembic") if not path.startswith(SQL_LIVES_IN)}
    assert others <= set(SQL_EXCEPTIONS)
    assert importing("asyncpg") <= set(ASYNCPG_LIVES_IN)


def test_no_text_elsewhere_is_a_statement() -> None:
    allowed = (*SQL_LIVES_IN, "taskforce/infrastructure/persistence/notifications.py", "cli/")
    found = [
        f"{one.path}:{node.lineno}"
        for one in sources()
        if not one.path.startswith(allowed)
        for node in ast.walk(one.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value)
    ]
    assert found == []


def test_no_sql_is_put_together_from_strings() -> None:
    found = [
        f"{one.path}:{node.lineno}"
        for one in sources()
        if one.path.startswith("taskforce/infrastructure/persistence/")
        for node in ast.walk(one.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"text", "literal_column"}
        if not all(
            isinstance(argument, ast.Constant | ast.Name) or _joined_constants(argument) for argument in node.args
        )
    ]
    assert found == []


def _joined_constants(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and all(
        isinstance(side, ast.Constant) or _joined_constants(side) for side in (node.left, node.right)
    )


@pytest.mark.parametrize(
    ("library", "door"),
    [
        ("litellm", "taskforce/infrastructure/llm/"),
        ("jose", "taskforce/infrastructure/auth/jwt_guard.py"),
    ],
)
def test_a_library_has_one_door(library: str, door: str) -> None:
    found = importing(library)
    assert len(found) == 1
    assert all(path.startswith(door) for path in found)


def test_one_place_writes_the_audit_log() -> None:
    naming = {one.path for one in sources() if re.search(r"\bAuditRow\b", one.text)}
    assert naming == {"models/tables/audit.py", "taskforce/infrastructure/persistence/repositories/audit.py"}
    raw = {one.path for one in sources() if re.search(r"INTO\s+audit_events", one.text, re.IGNORECASE)}
    assert raw == set()


def transactions(tree: ast.AST) -> Iterator[int]:
    """The lines that open a transaction of a tenant, or hand on the context that does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from [node.lineno] if node.func.attr in {"tenant", "reading", "counting"} else []


def test_the_gateway_opens_no_transaction() -> None:
    found = [
        f"{one.path}:{line}" for one in sources() if one.path.startswith("api/") for line in transactions(one.tree)
    ]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        "async with database.tenant(str(tenant_id)) as records: ...",
        "async with database.reading(tenant_id) as records, other(): ...",
        "records = await stack.enter_async_context(database.counting(tenant_id))",
    ],
)
def test_a_planted_transaction_is_found(planted: str) -> None:
    assert list(transactions(ast.parse(f"async def route():\n    {planted}"))) == [2]


def decisions(tree: ast.AST) -> Iterator[str]:
    """What decides who may do what: refusals that are raised, and rules of the domain that are called."""
    for node in ast.walk(tree):
        raised = node.exc if isinstance(node, ast.Raise) else node if isinstance(node, ast.Call) else None
        name = ast.unparse(raised.func).rpartition(".")[2] if isinstance(raised, ast.Call) else ""
        if name in {"Forbidden", "Conflict"} if isinstance(node, ast.Raise) else name.startswith("require_"):
            yield name


def test_routes_decide_nothing() -> None:
    found = {
        f"{one.path} {name}" for one in sources() if one.path.startswith("api/routes/") for name in decisions(one.tree)
    }
    assert found == set(ROUTES_REQUIRE)


@pytest.mark.parametrize("planted", ["raise Forbidden('key_may_not', 'No.')", "require_whole(caller.principal)"])
def test_a_planted_decision_is_found(planted: str) -> None:
    assert len(list(decisions(ast.parse(planted)))) == 1


def test_audit_events_are_made_by_their_builders() -> None:
    made = {one.path for one in sources() if re.search(r"\bAuditEvent\(", one.text)}
    assert made == set(BUILDS_AUDIT_EVENTS)


def functions(one: Source) -> Iterator[tuple[str, int]]:
    for node in ast.walk(one.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{one.path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def awaits_when_dropped(tree: ast.AST) -> Iterator[int]:
    """Awaits that run when a coroutine is closed: in `finally`, or where everything is caught."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Try):
            continue
        caught = [h for h in node.handlers if h.type is None or "BaseException" in ast.unparse(h.type)]
        for statement in (*node.finalbody, *(inner for handler in caught for inner in handler.body)):
            yield from (inner.lineno for inner in ast.walk(statement) if isinstance(inner, ast.Await))


def test_workflows_await_nothing_when_they_are_dropped() -> None:
    # A worker that shuts down drops its workflows; Python closes their coroutines in whatever thread collects them.
    planted = ast.parse("async def run():\n    try:\n        pass\n    finally:\n        await end()")
    assert list(awaits_when_dropped(planted)) == [5]
    found = [
        f"{one.path}:{line}"
        for one in sources()
        if one.path.startswith("workflows/") and not one.path.startswith("workflows/client/")
        for line in awaits_when_dropped(one.tree)
    ]
    assert not found


def test_functions_are_short() -> None:
    lengths = dict(found for one in sources() for found in functions(one))
    long = sorted(name for name, length in lengths.items() if length > LONG_FUNCTION)
    assert statistics.median(lengths.values()) <= MEDIAN_FUNCTION
    assert len(long) < 0.1 * len(lengths), long


def test_files_are_short() -> None:
    assert {one.path: one.lines for one in sources() if one.lines >= LONGEST_FILE} == {}


def test_the_import_contracts_are_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert " kept, 0 broken" in found.stdout, found.stdout[-4_000:] + found.stderr[-1_000:]
