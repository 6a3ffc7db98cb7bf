"""The registry finds tools, checks what a model gives them, and lets nothing but a ToolFailure out."""

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from taskforce.core.domain.runs.todo import TodoItem, TodoList
from taskforce.core.interfaces.tools import ToolFailure, ToolRunner
from taskforce.infrastructure.tools.declaration import MisdeclaredToolError, tool
from taskforce.infrastructure.tools.registry import ToolRegistry
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, lent

TOOL_FILE = '''
from taskforce.infrastructure.tools.declaration import tool

@tool(quick=True)
async def {name}(text: str) -> str:
    """Turns a text round.

    Args:
        text: Which.
    """
    return text[::-1]
'''


class Reading(BaseModel):
    """A value with a name."""

    name: str
    value: float


@tool()
async def measure(count: Annotated[int, Field(ge=1)], readings: list[Reading], unit: str | None = None) -> object:
    """Measures.

    Args:
        count: How often.
        readings: What was read.
        unit: In which unit.
    """
    return {"readings": readings[:count], "unit": unit}


@tool()
async def fail(how: str) -> object:
    """Fails.

    Args:
        how: In which way.
    """
    if how == "told":
        raise ToolFailure("Try again with password=hunter2.")
    if how == "exit":
        raise SystemExit(3)
    if how == "wrong data":
        Reading.model_validate({})
    if how == "not JSON":
        return object()
    if how == "nan":
        return [float("nan")]
    if how == "time":
        raise TimeoutError("the disk took too long")
    raise RuntimeError(how)


@tool(timeout_seconds=0.01)
async def wait() -> None:
    """Waits for ever."""
    await asyncio.Event().wait()


@tool(idempotent=True, timeout_seconds=0.01)
async def wait_idly() -> None:
    """Waits for ever."""
    await asyncio.Event().wait()


@tool()
async def plan() -> TodoList:
    """Plans."""
    return TodoList((TodoItem("a"),))


REGISTRY: ToolRunner = ToolRegistry([measure, fail, wait, wait_idly, plan], secrets=["s3cr3t-value"])


def test_the_built_in_tools_are_found_each_in_the_file_of_its_noun() -> None:
    assert list(BUILTIN.specs()) == [
        "ask_user",
        "calculator",
        "current_time",
        "http_get",
        "http_post",
        "list_files",
        "read_file",
        "read_result",
        "todo_write",
        "write_file",
    ]


def test_a_larger_registry_can_be_built_from_it() -> None:
    assert len(ToolRegistry([*BUILTIN.tools, plan]).specs()) == len(BUILTIN.specs()) + 1


def test_what_is_quick_needs_approval_or_asks() -> None:
    specs = BUILTIN.specs().values()
    assert {spec.name for spec in specs if not spec.quick} == {"http_get", "http_post"}
    assert {spec.name for spec in specs if not spec.idempotent} == {"http_post"}
    assert {spec.name for spec in specs if spec.needs_approval} == {"http_post"}
    assert {spec.name for spec in specs if spec.asks_person} == {"ask_user"}


def package(folder: Path, name: str, files: Mapping[str, str]) -> ToolRegistry:
    (folder / name).mkdir()
    for file, text in {"__init__.py": "", **files}.items():
        (folder / name / file).write_text(text)
    importlib.invalidate_caches()
    return ToolRegistry.discover(importlib.import_module(name))


async def test_adding_a_tool_takes_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    registry = package(tmp_path, "tools_of_one_file", {"text.py": TOOL_FILE.format(name="reverse")})
    assert list(registry.specs()) == ["reverse"]
    assert await registry.run("reverse", {"text": "abc"}, lent()) == "cba"


def test_a_tool_that_another_file_imports_is_not_declared_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    files = {"one.py": TOOL_FILE.format(name="reverse"), "two.py": "from tools_imported.one import reverse\n"}
    assert list(package(tmp_path, "tools_imported", files).specs()) == ["reverse"]


def test_two_tools_of_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    same = TOOL_FILE.format(name="reverse")
    with pytest.raises(MisdeclaredToolError, match=r"reverse.*tools_twice\.one.*tools_twice\.two"):
        package(tmp_path, "tools_twice", {"one.py": same, "two.py": same})


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        ({"count": 1, "readings": []}, ()),
        ({"count": 1, "readings": [{"name": "a", "value": 1}], "unit": None}, ()),
        ({}, ("count: is required", "readings: is required")),
        ({"count": "3", "readings": []}, ("count: '3' is not of type 'integer'",)),
        ({"count": True, "readings": []}, ("count: True is not of type 'integer'",)),
        ({"count": 0, "readings": []}, ("count: 0 is less than the minimum of 1",)),
        ({"count": 1, "readings": [{"name": 3, "value": 1}]}, ("readings.0.name: 3 is not of type 'string'",)),
        ({"count": 1, "readings": [{"name": "a"}]}, ("readings.0.value: is required",)),
        (
            {"count": 1, "readings": [], "unit": 3},
            ("unit: 3 is not of type 'string' or 3 is not of type 'null'",),
        ),
        (
            {"count": 1, "readings": [], "colour": "red"},
            ("colour: is not known here; known: count, readings, unit",),
        ),
        (None, ("arguments: None is not of type 'object'",)),
        ([], ("arguments: [] is not of type 'object'",)),
        ("count=1", ("arguments: 'count=1' is not of type 'object'",)),
    ],
)
def test_problems_are_told_in_sentences(arguments: object, sentences: tuple[str, ...]) -> None:
    assert REGISTRY.problems("measure", arguments) == sentences


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": "x" * 1_000_000, "readings": []},
        {"x" * 1_000_000: 1},
        {str(number): number for number in range(10_000)},
        {"count": 1, "readings": [{}] * 10_000},
        {"count": 1, "readings": ["x" * 1_000] * 5_000},
        {"count": 1, "readings": nested(20)},
        {"count": 1, "readings": nested(50_000)},
        {"count": 1, "readings": list(range(1_000_000))},
        {"count": 10**5_000, "readings": []},
        nested(50_000),
        "x" * 1_000_000,
    ],
    ids=range(11),
)
def test_huge_and_deep_arguments_are_told_in_few_words(arguments: object) -> None:
    problems = REGISTRY.problems("measure", arguments)
    assert 1 <= len(problems) <= 10
    assert all(len(sentence) <= 400 for sentence in problems)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["count", "readings", "name"]), inner),
)


@given(json_values)
def test_whatever_the_arguments_are_they_are_checked(arguments: object) -> None:
    assert isinstance(REGISTRY.problems("measure", arguments), tuple)


async def test_a_tool_that_does_not_exist_is_told_with_those_that_do() -> None:
    assert REGISTRY.problems("rm_rf", {}) == (
        "rm_rf: is not a tool; the tools are: fail, measure, plan, wait, wait_idly",
    )
    with pytest.raises(ToolFailure, match="is not a tool"):
        await REGISTRY.run("x" * 100_000, {}, lent())


async def test_a_result_is_something_that_json_can_carry() -> None:
    arguments = {"count": 1, "readings": [{"name": "a", "value": 1.5}]}
    assert await REGISTRY.run("measure", arguments, lent()) == {
        "readings": [{"name": "a", "value": 1.5}],
        "unit": None,
    }
    assert await REGISTRY.run("plan", {}, lent()) == TodoList((TodoItem("a"),))
    assert await REGISTRY.run("fail", {"how": "nan"}, lent()) == ["NaN"]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("out of paper", "RuntimeError: out of paper"),
        ("the key s3cr3t-value is wrong", "RuntimeError: the key *** is wrong"),
        ("https://a:b@c/ is gone", "RuntimeError: https://***@c/ is gone"),
        ("told", "Try again with password=***"),
        ("exit", "SystemExit: 3"),
        ("time", "TimeoutError: the disk took too long"),
    ],
)
async def test_whatever_a_tool_raises_is_a_failure_without_secrets(how: str, text: str) -> None:
    with pytest.raises(ToolFailure) as failure:
        await REGISTRY.run("fail", {"how": how}, lent())
    assert str(failure.value) == text
    assert failure.value.__cause__ is None


@pytest.mark.parametrize(
    ("how", "kind"), [("wrong data", "ValidationError"), ("not JSON", "PydanticSerializationError"), ("y" * 9_999, "y")]
)
async def test_the_text_names_the_kind_and_is_short(how: str, kind: str) -> None:
    with pytest.raises(ToolFailure, match=kind) as failure:
        await REGISTRY.run("fail", {"how": how}, lent())
    assert len(str(failure.value)) <= 1_000


async def test_arguments_that_were_not_checked_do_not_reach_the_tool() -> None:
    with pytest.raises(ToolFailure, match="count: "):
        await REGISTRY.run("measure", {"count": 0, "readings": []}, lent())


async def test_a_tool_runs_no_longer_than_its_time() -> None:
    with pytest.raises(ToolFailure, match=r"stopped after 0\.01 s\. Whether it had an effect is unknown\."):
        await REGISTRY.run("wait", {}, lent())
    with pytest.raises(ToolFailure, match=r"stopped after 0\.01 s\.$"):
        await REGISTRY.run("wait_idly", {}, lent())


async def test_cancellation_passes() -> None:
    begun = asyncio.Event()

    @tool()
    async def hang() -> None:
        """Hangs."""
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(ToolRegistry([hang]).run("hang", {}, lent()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
