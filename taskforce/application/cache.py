"""What a process keeps of what never changes, so as not to read it again."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

ROOM = 16_000_000


class BoundedCache(Generic[Key, Value]):
    """Values by key, as many as there is room for; the oldest goes first.

    Args:
        room: The sum of the sizes that are kept.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._values: dict[Key, tuple[Value, int]] = {}

    def get(self, key: Key) -> Value | None:
        """The value, if it is still kept."""
        kept = self._values.get(key)
        return None if kept is None else kept[0]

    def keep(self, key: Key, value: Value, size: int) -> None:
        """Keeps a value, in the place of an earlier one of that key.

        Args:
            key: Its key.
            value: The value.
            size: What it takes up, for example characters; one that is larger than the room is not kept.
        """
        self.take(key)
        while self._values and self._room < size:
            self.take(next(iter(self._values)))
        if size <= self._room:
            self._room -= size
            self._values[key] = (value, size)

    def take(self, key: Key) -> Value | None:
        """The value, which is kept no longer."""
        value, size = self._values.pop(key, (None, 0))
        self._room += size
        return value
