"""Earlier results that were too long to be shown whole."""

from typing import Annotated

from pydantic import Field

from taskforce.core.interfaces.tools import ToolContext
from taskforce.infrastructure.tools.declaration import tool
from taskforce.infrastructure.tools.truncation import PART, part

# What the database's integers hold.
MAX_NUMBER = 2**31 - 1 - PART


@tool(quick=True)
async def read_result(
    step: Annotated[int, Field(ge=1, le=MAX_NUMBER)],
    call: Annotated[int, Field(ge=0, le=MAX_NUMBER)],
    context: ToolContext,
    offset: Annotated[int, Field(ge=0, le=MAX_NUMBER)] = 0,
) -> str:
    """Reads a part of an earlier result of this run that was shown cut.

    Args:
        step: The step of the result, as the cut result names it.
        call: The call within that step, as the cut result names it; 0 for your own words.
        context: Lent by the product; the model does not see it.
        offset: Where to begin, in characters.
    """
    text = await context.results.read(step, call, offset, PART + 1)
    return part(text[:PART], offset, len(text) > PART, f"read_result(step={step}, call={call}")
