"""The calculator."""

import pytest

from taskforce.core.interfaces.tools import ToolFailure
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, call


async def test_it_calculates() -> None:
    assert await call("calculator", expression="(17.5 * 3 + 2**10) / 7") == "153.7857142857142857143"


async def test_what_is_refused_is_told_to_the_model() -> None:
    with pytest.raises(ToolFailure, match="Division by zero"):
        await call("calculator", expression="1 / 0")


def test_its_schema() -> None:
    schema = BUILTIN.specs()["calculator"].parameters
    assert schema == {
        "type": "object",
        "properties": {
            "expression": {
                "type": "string",
                "description": "For example (17.5 * 3 + 2**10) / 7.",
                "minLength": 1,
                "maxLength": 1000,
            }
        },
        "required": ["expression"],
        "additionalProperties": False,
    }
