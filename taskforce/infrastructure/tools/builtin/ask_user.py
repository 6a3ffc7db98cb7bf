"""The person on whose behalf the run acts."""

from typing import Annotated

from pydantic import Field

from taskforce.core.interfaces.tools import ToolContext, ToolFailure
from taskforce.infrastructure.tools.declaration import tool


@tool(idempotent=True, quick=True, asks_person=True)
async def ask_user(question: Annotated[str, Field(min_length=1, max_length=4000)], context: ToolContext) -> str:
    """Asks the user a question and waits for the answer. Use it when only the user can know or decide something.

    Args:
        question: What you want to know, complete in itself.
        context: Lent by the product; the model does not see it.
    """
    # The question is shown from the call itself; by the time this runs, it has been answered.
    if not context.words:
        raise ToolFailure("Nobody has answered.")
    return "\n".join(context.words)
