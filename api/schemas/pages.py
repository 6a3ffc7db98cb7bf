"""Pages of lists in responses."""

from typing import Generic, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item")


class PageOut(BaseModel, Generic[Item]):
    """A page of a list.

    Attributes:
        items: The items; there may be fewer than asked for.
        next_cursor: The cursor of the next page; null when there is none.
    """

    items: list[Item]
    next_cursor: str | None


class ListOut(BaseModel, Generic[Item]):
    """A list that is not paged."""

    items: list[Item]
