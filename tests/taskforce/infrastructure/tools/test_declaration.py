"""A tool is a typed function with a docstring; its schema follows from it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from taskforce.core.interfaces.tools import ToolContext
from taskforce.infrastructure.tools.declaration import MisdeclaredToolError, tool
from tests.taskforce.infrastructure.tools.tool_context import lent


class Place(BaseModel):
    """Somewhere."""

    name: str
    height: float | None = None


class Branch(BaseModel):
    """A tree."""

    branches: list["Branch"]


@tool(needs_approval=True, timeout_seconds=5)
async def travel(
    context: ToolContext,
    to: Place,
    by: Literal["train", "ship"],
    stops: Annotated[list[Place], Field(max_length=3)],
    json: bool = False,
) -> str:
    """Travels somewhere.

    Takes its time.

    Args:
        context: Lent.
        to: Where
            to go.
        by: How.
        stops: On the way.
        json: Whether to answer in JSON.
    """
    return f"{context.run_id}: {to.name} by {by} over {len(stops)}, {json}"


PLACE = {
    "type": "object",
    "description": "Somewhere.",
    "properties": {
        "name": {"type": "string"},
        "height": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def test_the_schema_follows_from_signature_and_docstring() -> None:
    assert travel.spec.name == "travel"
    assert travel.spec.description == "Travels somewhere.\n\nTakes its time."
    assert travel.spec.parameters == {
        "type": "object",
        "properties": {
            "to": {**PLACE, "description": "Where to go."},
            "by": {"type": "string", "enum": ["train", "ship"], "description": "How."},
            "stops": {"type": "array", "items": PLACE, "maxItems": 3, "description": "On the way."},
            "json": {"type": "boolean", "default": False, "description": "Whether to answer in JSON."},
        },
        "required": ["to", "by", "stops"],
        "additionalProperties": False,
    }


def test_what_a_tool_declares_is_in_its_spec() -> None:
    spec = travel.spec
    assert (spec.needs_approval, spec.timeout_seconds) == (True, 5)
    assert (spec.idempotent, spec.quick, spec.asks_person) == (False, False, False)


async def test_arguments_arrive_as_the_annotated_types() -> None:
    given = travel.coerced({"to": {"name": "Oslo"}, "by": "ship", "stops": [{"name": "Kiel"}]})
    assert await travel.call(given, lent()) == "r1: Oslo by ship over 1, False"


async def plain() -> str:
    """Does nothing."""
    return ""


def test_what_is_quick_is_idempotent() -> None:
    assert tool(quick=True)(plain).spec.idempotent
    assert not tool()(plain).spec.idempotent
    with pytest.raises(MisdeclaredToolError, match="idempotent"):
        tool(quick=True, idempotent=False)(plain)


def test_time_must_be_given() -> None:
    with pytest.raises(MisdeclaredToolError, match="timeout_seconds"):
        tool(timeout_seconds=0)(plain)


def test_a_tool_can_name_the_feature_that_it_needs() -> None:
    assert tool()(plain).spec.feature is None
    assert tool(feature="rag")(plain).spec.feature == "rag"
    with pytest.raises(MisdeclaredToolError, match="no feature ragtime; approval_workflows, long_term_memory, rag"):
        tool(feature="ragtime")(plain)


async def no_docstring(a: int) -> int:
    return a


async def undocumented(a: int, b: int) -> int:
    """Adds.

    Args:
        a: One.
    """
    return a + b


async def invented(a: int) -> int:
    """Adds.

    Args:
        a: One.
        b: Another.
    """
    return a


async def unannotated(a) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Adds.

    Args:
        a: One.
    """
    return int(a)


async def starred(*numbers: int) -> int:
    """Adds.

    Args:
        numbers: Many.
    """
    return sum(numbers)


async def strange(a: Callable[[], Awaitable[None]]) -> None:
    """Calls.

    Args:
        a: What.
    """
    await a()


async def endless(tree: Branch) -> None:
    """Climbs.

    Args:
        tree: Which.
    """


async def twice(a: ToolContext, b: ToolContext) -> None:
    """Takes."""


async def Shouting() -> None:  # noqa: N802
    """Shouts."""


def synchronous() -> None:
    """Blocks."""


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (no_docstring, "docstring"),
        (undocumented, "does not describe b"),
        (invented, "describes b"),
        (unannotated, "a has no annotation"),
        (starred, "by name"),
        (strange, "JSON Schema"),
        (endless, "contains itself"),
        (twice, "more than once"),
        (Shouting, "name matches"),
        (synchronous, "async def"),
    ],
)
def test_what_does_not_add_up_fails_when_it_is_declared(
    function: Callable[..., Awaitable[object]], reason: str
) -> None:
    with pytest.raises(MisdeclaredToolError, match=reason) as error:
        tool()(function)
    assert function.__name__ in str(error.value)
