"""The agent's plan."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from taskforce.core.domain.runs.todo import MAX_ITEMS, MAX_TEXT, TodoItem, TodoList, TodoStatus
from taskforce.infrastructure.tools.declaration import tool


class TodoEntry(BaseModel):
    """One item of the plan."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    """What is to be done, in a few words."""
    status: TodoStatus = TodoStatus.PENDING
    """How far it is."""


@tool(quick=True)
async def todo_write(items: Annotated[list[TodoEntry], Field(max_length=MAX_ITEMS)]) -> TodoList:
    """Writes the whole todo list of this run, replacing the one before.

    Use it to plan a mission that takes several steps, and again whenever an item is begun or done, so that people can
    see how far you are.

    Args:
        items: Every item of the list, in order; what is left out is gone.
    """
    return TodoList(tuple(TodoItem(item.text, item.status) for item in items))
