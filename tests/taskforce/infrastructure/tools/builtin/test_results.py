"""A result that was shown cut can be read on, in parts that are not cut again."""

import pytest

from taskforce.core.domain.runs.transcript import shown
from taskforce.core.interfaces.tools import ToolFailure
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, Whole, call, lent

WHOLE = "".join(f"{number:05d}\n" for number in range(3_000))


async def test_the_parts_make_up_the_whole_and_none_is_cut_again() -> None:
    context = lent(results=Whole({(2, 1): WHOLE}))
    offset, read = 0, ""
    while offset < len(WHOLE):
        part = str(await call("read_result", context, step=2, call=1, offset=offset))
        assert shown(part, 3, 1).whole is None
        text, _, note = part.partition("\n[... more follows")
        read, offset = read + text, offset + len(text)
        if note:
            assert f"read_result(step=2, call=1, offset={offset})" in note
        else:
            break
    assert read == WHOLE


async def test_a_result_that_is_not_there_is_told() -> None:
    with pytest.raises(ToolFailure, match="no result"):
        await call("read_result", step=1, call=1)


def test_numbers_that_no_database_holds_are_a_problem() -> None:
    for name in ("step", "call", "offset"):
        assert BUILTIN.problems("read_result", {"step": 1, "call": 1, name: 2**31})
        assert BUILTIN.problems("read_result", {"step": 1, "call": 1, name: -1})


def test_its_schema() -> None:
    schema = BUILTIN.specs()["read_result"].parameters
    assert schema["required"] == ["step", "call"]
    assert isinstance(schema["properties"], dict)
    assert list(schema["properties"]) == ["step", "call", "offset"]
