"""Lists in pages."""

from typing import Generic, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item")


class PageOut(BaseModel, Generic[Item]):
    """A page of a list.

    Attributes:
        items: The items; there may be fewer than asked for.
        next_cursor: Where the next page starts; null when there is none.
    """

    items: list[Item]
    next_cursor: str | None


class ListOut(BaseModel, Generic[Item]):
    """A whole list."""

    items: list[Item]
