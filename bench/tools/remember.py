"""A tool that runs as a regular activity and does nothing: the built-in ones of that kind touch the world."""

from taskforce.infrastructure.tools.declaration import tool


@tool(idempotent=True)
async def remember(expression: str) -> str:
    """Remembers an expression.

    Args:
        expression: What to remember.
    """
    return expression
