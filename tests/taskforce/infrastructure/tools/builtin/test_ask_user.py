"""A question to the user is answered by the user's words."""

import pytest

from taskforce.core.interfaces.tools import ToolFailure
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, call, lent


async def test_the_answer_is_what_the_person_wrote() -> None:
    assert await call("ask_user", lent(words=("Blue.", "No, green.")), question="Which?") == "Blue.\nNo, green."


async def test_without_an_answer_nothing_is_made_up() -> None:
    with pytest.raises(ToolFailure, match="Nobody"):
        await call("ask_user", question="Which?")


def test_its_schema() -> None:
    assert BUILTIN.specs()["ask_user"].parameters == {
        "type": "object",
        "properties": {
            "question": {
                "type": "string",
                "description": "What you want to know, complete in itself.",
                "minLength": 1,
                "maxLength": 4000,
            }
        },
        "required": ["question"],
        "additionalProperties": False,
    }
