"""Arithmetic for models, which are bad at it."""

from typing import Annotated

from pydantic import Field

from taskforce.core.interfaces.tools import ToolFailure
from taskforce.infrastructure.tools.arithmetic import MAX_LENGTH, ArithmeticRefusedError, evaluate, written
from taskforce.infrastructure.tools.declaration import tool


@tool(quick=True)
async def calculator(expression: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]) -> str:
    """Computes an arithmetic expression exactly where that is possible, so that 0.1 + 0.2 is 0.3.

    Knows + - * / // % ** and parentheses; pi and e; sqrt, abs, round, floor, ceil, min, max, sum, factorial, gcd, exp,
    log (natural, or log(x, base)), log2, log10, sin, cos, tan, asin, acos, atan, atan2, degrees, radians. Angles are in
    radians.

    Args:
        expression: For example (17.5 * 3 + 2**10) / 7.
    """
    try:
        return written(evaluate(expression))
    except ArithmeticRefusedError as error:
        raise ToolFailure(str(error)) from error
