"""Tests give the same answer on a slow machine: they neither sleep for a fixed time nor measure against a clock."""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pytest

from tests.architecture.conftest import REPOSITORY

LONGEST_PAUSE = 0.1
"""Seconds between two looks of a loop that waits for something."""
SHORTEST_PATIENCE = 30
"""Seconds that a wait for something to happen allows at least."""
CLOCKS = {
    f"time.{clock}" for clock in ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time", "time_ns")
}
LOOPS_CLOCK = re.compile(r"(\b|_)loop\.time|_loop\(\)\.time")
SPENT = re.compile(r"(^|_)(duration|elapsed|took|spent|latency)(_|$)")
"""Names of what was measured elsewhere."""
SLEEPS = {"time.sleep", "asyncio.sleep", "workflow.sleep", "temporalio.workflow.sleep", "anyio.sleep", "sleep"}
TIMEOUTS = {"asyncio.timeout", "anyio.fail_after", "anyio.move_on_after"}
WAITS = {"asyncio.wait_for", "wait_until"}
LIMITS = re.compile(r"(header|body|idle|stall)_seconds")
"""What the gateway gives its clients."""
SLEEPS_FOR = {
    "tests/replay/planted_nondeterminism.py": "workflows' own timers, which no test waits for",
    "tests/cli/stack/test_home.py": "a program that is to be killed",
    "tests/activities/test_heartbeats.py": "an activity whose work takes a while, in moments",
    "tests/api/web/sockets.py": "a client that is slow, byte by byte",
}
"""Who may sleep for a fixed time, and what for."""
MEASURES = {
    "tests/cli/conftest.py": "a deadline of a minute for what is to appear on a terminal",
    "tests/taskforce/infrastructure/llm/conftest.py": "a deadline of a minute for a server to listen",
}
"""Who may compare a clock, and what for."""


@dataclass(frozen=True)
class Module:
    """A module with what its names stand for: origins of what it imports, and constants that are numbers."""

    tree: ast.Module
    origins: Mapping[str, str]
    numbers: Mapping[str, float]

    def name_of(self, call: ast.AST) -> str:
        """What a call calls, by the name that it has where it comes from."""
        if not isinstance(call, ast.Call):
            return ""
        first, dot, rest = ast.unparse(call.func).partition(".")
        return self.origins.get(first, first) + dot + rest

    def number(self, value: ast.AST | None) -> float | None:
        """The number that an expression stands for, as far as it shows."""
        match value:
            case ast.Constant(value=int() | float() as given):
                return float(given)
            case ast.Name(id=name):
                return self.numbers.get(name)
            case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as operation, right=right):
                one, other = self.number(left), self.number(right)
                if one is None or not other:
                    return None
                return one * other if isinstance(operation, ast.Mult) else one / other
        return None

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))


def module_of(text: str) -> Module:
    tree = ast.parse(text)
    origins: dict[str, str] = {}
    numbers: dict[str, float] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origins |= {name.asname: name.name for name in node.names if name.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            origins |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
            numbers |= {
                name.asname or name.name: value
                for name in node.names
                if (value := imported_numbers(node.module or "").get(name.name)) is not None
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            value = Module(tree, origins, numbers).number(node.value)
            if value is not None:
                numbers |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return Module(tree, origins, numbers)


@cache
def imported_numbers(module: str) -> Mapping[str, float]:
    path = REPOSITORY / f"{module.replace('.', '/')}.py"
    return module_of(path.read_text()).numbers if module.startswith("tests.") and path.exists() else {}


@cache
def modules() -> Sequence[tuple[str, Module]]:
    listed = subprocess.run(["git", "ls-files", "tests"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.split() if path.endswith(".py")]
    return [(path, module_of((REPOSITORY / path).read_text())) for path in paths]


def argument(call: ast.Call, place: int, *names: str) -> ast.expr | None:
    if len(call.args) > place:
        return call.args[place]
    return next((keyword.value for keyword in call.keywords if keyword.arg in names), None)


def fixed_sleeps(module: Module) -> Iterator[int]:
    """Sleeps for a constant time, but for short ones between two looks of a loop."""
    looped = {id(inner) for loop in ast.walk(module.tree) if isinstance(loop, ast.While) for inner in ast.walk(loop)}
    for call in module.calls():
        name = module.name_of(call)
        if name in SLEEPS:
            seconds = module.number(argument(call, 0, "delay", "seconds", "duration"))
            if seconds and (seconds > LONGEST_PAUSE or id(call) not in looped):
                yield call.lineno
        elif name == "asyncio.wait" and any(keyword.arg == "timeout" for keyword in call.keywords):
            # It ends without an error when the time is over: a sleep that is sometimes shorter.
            yield call.lineno


def measured_times(module: Module) -> Iterator[int]:
    """Comparisons with what a clock on the wall says: directly, by a name that was given its difference, or logged."""
    named = {
        target.id
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr)
        and node.value
        and reads_clock(module, node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = (node.left, *node.comparators)
        if is_measured(module, node) or any(reads_clock(module, side) or names_in(side) & named for side in sides):
            yield node.lineno


def names_in(value: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}


def is_measured(module: Module, node: ast.Compare) -> bool:
    """Whether something that is called a duration must be shorter than a number; longer, it is on slow machines too."""
    left, right = node.left, node.comparators[-1]
    if isinstance(node.ops[-1], ast.Gt | ast.GtE):
        left, right = right, left
    elif not isinstance(node.ops[-1], ast.Lt | ast.LtE):
        return False
    match left:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str() as name)):
            return SPENT.search(name) is not None and module.number(right) is not None
    return False


def reads_clock(module: Module, value: ast.AST) -> bool:
    names = (module.name_of(node) for node in ast.walk(value))
    return any(name in CLOCKS or LOOPS_CLOCK.search(name) for name in names)


def short_patience(module: Module) -> Iterator[int]:
    """Waits that fail a test when something takes longer than a busy machine may need."""
    for call in module.calls():
        name = module.name_of(call)
        limit = None
        if name in TIMEOUTS:
            limit = argument(call, 0, "delay")
        elif name in WAITS or name.endswith(".wait_until"):
            limit = argument(call, 1, "timeout", "seconds")
        seconds = module.number(limit)
        if seconds is not None and seconds < SHORTEST_PATIENCE:
            yield call.lineno


def short_limits(module: Module) -> Iterator[int]:
    """Limits of a gateway that several clients share, of which one may be honest and slow.

    A test of a slow client makes its own, or a context manager shortens them for a while.
    """
    scoped = {
        id(inner)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.name.startswith("test_") or any("contextmanager" in ast.unparse(one) for one in node.decorator_list))
        for inner in ast.walk(node)
    }
    for call in module.calls():
        for keyword in call.keywords:
            seconds = module.number(keyword.value)
            is_short = LIMITS.fullmatch(keyword.arg or "") and seconds is not None and seconds < SHORTEST_PATIENCE
            if is_short and id(call) not in scoped:
                yield call.lineno


def hasty_clients(module: Module) -> Iterator[int]:
    """Finds HTTP clients with httpx's own patience, five seconds, in which a slow machine may not answer."""
    for call in module.calls():
        given = {keyword.arg for keyword in call.keywords}
        if ast.unparse(call.func) in {"httpx.AsyncClient", "httpx.Client"} and not given & {
            "timeout",
            "transport",
            None,
        }:
            yield call.lineno


def offences(module: Module) -> Iterator[int]:
    for rule in (fixed_sleeps, measured_times, short_patience, short_limits, hasty_clients):
        yield from rule(module)


def test_no_test_sleeps_for_a_fixed_time() -> None:
    found = {f"{path}:{line}" for path, module in modules() if path not in SLEEPS_FOR for line in fixed_sleeps(module)}
    assert found == set()


def test_no_test_asserts_a_time_on_the_wall() -> None:
    found = {f"{path}:{line}" for path, module in modules() if path not in MEASURES for line in measured_times(module)}
    assert found == set()


def test_waits_are_patient() -> None:
    assert {f"{path}:{line}" for path, module in modules() for line in short_patience(module)} == set()


def test_clients_of_a_shared_gateway_have_time() -> None:
    assert {f"{path}:{line}" for path, module in modules() for line in short_limits(module)} == set()


def test_clients_of_any_server_have_time() -> None:
    assert {f"{path}:{line}" for path, module in modules() for line in hasty_clients(module)} == set()


@pytest.mark.parametrize(
    "planted",
    [
        "httpx.AsyncClient(base_url=gateway.url)",
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
        "await asyncio.wait_for(reader.read(), timeout=10)",
        "from time import perf_counter\nassert perf_counter() - began < 1",
        "from time import perf_counter as now\nbegan = now()\nassert now() - began < 1",
        "import time as clock\nspent: float = clock.monotonic() - began\nassert spent < 1",
        "assert loop.time() - began < 1",
        "began = asyncio.get_running_loop().time()\nassert began < 1",
        "assert (spent := self.loop.time() - began) and spent < 1",
        "assert duration_ms < 50",
        "assert line['duration_ms'] < 50",
        "assert 50 >= duration_ms",
        "MOST = 50\nassert answer.elapsed < MOST",
        "SECONDS = 5\nasync def f():\n    async with asyncio.timeout(SECONDS):\n        pass",
        "from asyncio import timeout as within\nasync def f():\n    async with within(5):\n        pass",
        "MINUTE = 60\nasync def f():\n    async with asyncio.timeout(MINUTE / 60):\n        pass",
        "from asyncio import sleep\nawait sleep(2)",
        "PAUSE = 2\ntime.sleep(PAUSE)",
        "from tests.architecture.test_tests import LONGEST_PAUSE\ntime.sleep(LONGEST_PAUSE)",
        "SHORT = HttpLimits(header_seconds=0.4)",
        "FEW = 0.4\nSHORT = replace(DEFAULTS, stall_seconds=FEW)",
        "@pytest.fixture\nasync def hurried():\n    return HttpLimits(body_seconds=1)",
    ],
)
def test_planted_offences_are_found(planted: str) -> None:
    assert [*offences(module_of(planted))]


@pytest.mark.parametrize(
    "allowed",
    [
        "while not done():\n    await asyncio.sleep(0.05)",
        "await asyncio.sleep(0)",
        "begun = time.process_time()\nassert time.process_time() - begun < limit",
        "async def f():\n    async with asyncio.timeout(60):\n        pass",
        "PATIENCE = 60\nasync def f():\n    async with asyncio.timeout(PATIENCE):\n        pass",
        "LIMITS = HttpLimits(connections=5)",
        "assert attempt.duration_ms >= 300",
        "async def test_who_says_nothing():\n    limits = HttpLimits(header_seconds=0.4)",
        "assert answer.json()['duration_ms'] == line['duration_ms']",
    ],
)
def test_what_is_allowed_is_not(allowed: str) -> None:
    assert [*offences(module_of(allowed))] == []


def test_no_test_module_imports_another_one() -> None:
    found = {
        path
        for path, module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    }
    assert found == set()
