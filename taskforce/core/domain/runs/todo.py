"""The todo list that an agent writes while it works."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from taskforce.core.domain.errors import Invalid

TODO_TOOL = "todo_write"
MAX_ITEMS = 40
MAX_TEXT = 160


class TodoStatus(StrEnum):
    """The status of an item."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class TodoItem:
    """One item of the todo list."""

    text: str
    status: TodoStatus = TodoStatus.PENDING


@dataclass(frozen=True, slots=True)
class TodoList:
    """A whole todo list; writing one replaces the one before.

    Its size is bounded because it is stored in the workflow's history.

    Raises:
        Invalid: `todo_too_long` when there are more than 40 items or an item has more than 160 characters.
    """

    items: tuple[TodoItem, ...] = ()

    def __post_init__(self) -> None:
        if len(self.items) > MAX_ITEMS:
            raise Invalid(
                "todo_too_long", f"A todo list has at most {MAX_ITEMS} items; this one has {len(self.items)}."
            )
        if any(len(item.text) > MAX_TEXT for item in self.items):
            raise Invalid("todo_too_long", f"A todo item has at most {MAX_TEXT} characters.")

    def markdown(self, escape: Callable[[str], str] | None = None) -> str:
        """Renders the list as Markdown task items, for the Temporal UI and the terminal.

        Args:
            escape: Escapes Markdown in the model's text; the default removes line breaks, links and elements.
        """
        escape = escape or _plain
        marks = {TodoStatus.PENDING: "[ ]", TodoStatus.IN_PROGRESS: "[~]", TodoStatus.DONE: "[x]"}
        return "\n".join(f"- {marks[item.status]} {escape(item.text)}" for item in self.items)

    @classmethod
    def of(cls, items: Iterable[tuple[str, str]]) -> "TodoList":
        """Builds a list from (text, status) pairs, as they travel in messages.

        Raises:
            Invalid: As the constructor; `todo_status_unknown`.
        """
        return cls(tuple(TodoItem(text, _status(status)) for text, status in items))

    @classmethod
    def written(cls, items: object) -> "TodoList":
        """Builds the list from the arguments of a `todo_write` call.

        Args:
            items: The argument `items`, valid by the tool's schema.

        Raises:
            Invalid: As `of`.
        """
        listed = items if isinstance(items, list) else []
        return cls.of((str(item["text"]), str(item.get("status", "pending"))) for item in listed)


def _plain(text: str) -> str:
    # An operator's browser renders this text of a model: links, images and elements in it would be an injection.
    return re.sub(r"([\[\]<>])", r"\\\1", " ".join(text.split()))


def _status(name: str) -> TodoStatus:
    try:
        return TodoStatus(name)
    except ValueError:
        known = ", ".join(TodoStatus)
        raise Invalid("todo_status_unknown", f"An item is one of {known}.") from None
