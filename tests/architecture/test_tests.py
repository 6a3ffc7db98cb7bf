"""Tests give the same answer on a slow machine: they neither sleep for a fixed time nor measure against a clock."""

import ast
import subprocess
from collections.abc import Iterator

import pytest

from tests.architecture.conftest import REPOSITORY

LONGEST_PAUSE = 0.1
"""Seconds between two looks of a loop that waits for something."""
SHORTEST_PATIENCE = 30
"""Seconds that a wait for something to happen allows at least."""
CLOCKS = {"perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time", "time_ns"}
SLEEPS_FOR = {
    "tests/replay/planted_nondeterminism.py": "workflows' own timers, which no test waits for",
    "tests/cli/stack/test_home.py": "a program that is to be killed",
    "tests/api/web/sockets.py": "a client that is slow, byte by byte",
}
"""Who may sleep for a fixed time, and what for."""
MEASURES = {
    "tests/cli/test_run.py": "a deadline of a minute for what is to appear on a terminal",
    "tests/taskforce/infrastructure/llm/conftest.py": "a deadline of a minute for a server to listen",
}
"""Who may compare a clock, and what for."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    listed = subprocess.run(["git", "ls-files", "tests"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for path in listed.stdout.split():
        if path.endswith(".py"):
            yield path, ast.parse((REPOSITORY / path).read_text())


def name_of(call: ast.AST) -> str:
    return ast.unparse(call.func) if isinstance(call, ast.Call) else ""


def first_number(call: ast.Call) -> float | None:
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    given = values[0].value if values and isinstance(values[0], ast.Constant) else None
    return float(given) if isinstance(given, int | float) else None


def fixed_sleeps(tree: ast.Module) -> Iterator[int]:
    """Sleeps for a constant time, but for short ones between two looks of a loop."""
    looped = {id(inner) for loop in ast.walk(tree) if isinstance(loop, ast.While) for inner in ast.walk(loop)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node) in {"time.sleep", "asyncio.sleep", "workflow.sleep", "sleep"}:
            seconds = first_number(node)
            if seconds and (seconds > LONGEST_PAUSE or id(node) not in looped):
                yield node.lineno
        elif (
            isinstance(node, ast.Call)
            and name_of(node) == "asyncio.wait"
            and any(keyword.arg == "timeout" for keyword in node.keywords)
        ):
            # It ends without an error when the time is over: a sleep that is sometimes shorter.
            yield node.lineno


def measured_times(tree: ast.Module) -> Iterator[int]:
    """Comparisons with what a clock on the wall says, directly or by a name that was given its difference."""
    named = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and reads_clock(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            reads_clock(side) or any(isinstance(part, ast.Name) and part.id in named for part in ast.walk(side))
            for side in (node.left, *node.comparators)
        ):
            yield node.lineno


def reads_clock(value: ast.AST) -> bool:
    return any(
        name_of(node).rpartition(".")[2] in CLOCKS and name_of(node).partition(".")[0] == "time"
        for node in ast.walk(value)
    )


def short_patience(tree: ast.Module) -> Iterator[int]:
    """Waits that fail a test when something takes longer than a busy machine may need."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncWith):
            for item in node.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and name_of(call) == "asyncio.timeout":
                    seconds = first_number(call)
                    if seconds is not None and seconds < SHORTEST_PATIENCE:
                        yield call.lineno
        elif isinstance(node, ast.Call) and name_of(node) in {"asyncio.wait_for", "wait_until"}:
            limit = node.args[1] if len(node.args) > 1 else None
            given = limit.value if isinstance(limit, ast.Constant) else None
            if isinstance(given, int | float) and given < SHORTEST_PATIENCE:
                yield node.lineno


def test_no_test_sleeps_for_a_fixed_time() -> None:
    found = {f"{path}:{line}" for path, tree in modules() if path not in SLEEPS_FOR for line in fixed_sleeps(tree)}
    assert found == set()


def test_no_test_asserts_a_time_on_the_wall() -> None:
    found = {f"{path}:{line}" for path, tree in modules() if path not in MEASURES for line in measured_times(tree)}
    assert found == set()


def test_waits_are_patient() -> None:
    assert {f"{path}:{line}" for path, tree in modules() for line in short_patience(tree)} == set()


@pytest.mark.parametrize(
    "planted",
    [
        "asyncio.sleep(0.05)",
        "while True:\n    await asyncio.sleep(1)",
        "time.sleep(2)",
        "await asyncio.wait({looking}, timeout=0.2)",
        "began = time.perf_counter()\nassert time.perf_counter() - began < 1",
        "began = time.monotonic()\nspent = time.monotonic() - began\nassert spent < 0.05",
        "spent.append(time.time() - began)\nassert time.time() < 5",
        "async def f():\n    async with asyncio.timeout(2), other():\n        pass",
        "assert wait_until(lambda: True, 5)",
        "await asyncio.wait_for(reader.read(), 10)",
    ],
)
def test_planted_offences_are_found(planted: str) -> None:
    tree = ast.parse(planted)
    assert [*fixed_sleeps(tree), *measured_times(tree), *short_patience(tree)]


@pytest.mark.parametrize(
    "allowed",
    [
        "while not done():\n    await asyncio.sleep(0.05)",
        "await asyncio.sleep(0)",
        "begun = time.process_time()\nassert time.process_time() - begun < limit",
        "async def f():\n    async with asyncio.timeout(60):\n        pass",
    ],
)
def test_what_is_allowed_is_not(allowed: str) -> None:
    tree = ast.parse(allowed)
    assert not [*fixed_sleeps(tree), *measured_times(tree), *short_patience(tree)]


def test_no_test_module_imports_another_one() -> None:
    found = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    }
    assert found == set()
