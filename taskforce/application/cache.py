"""In-process cache of values that never change."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

ROOM = 16_000_000


class BoundedCache(Generic[Key, Value]):
    """Cache of values by key with a limit on their total size; the oldest value is removed first.

    Args:
        capacity: The largest sum of the sizes.
    """

    def __init__(self, capacity: int = ROOM) -> None:
        self._room = capacity
        self._values: dict[Key, tuple[Value, int]] = {}

    def get(self, key: Key) -> Value | None:
        """Returns the value of a key; None where it is not cached."""
        kept = self._values.get(key)
        return None if kept is None else kept[0]

    def keep(self, key: Key, value: Value, size: int) -> None:
        """Stores a value, in place of an earlier one of the key.

        Args:
            key: The key.
            value: The value.
            size: Its size, for example in characters; a value larger than the whole cache is not stored.
        """
        # Also puts the key last: the dict's order is that of storing, and its first key the oldest.
        self.take(key)
        while self._values and self._room < size:
            self.take(next(iter(self._values)))
        if size <= self._room:
            self._room -= size
            self._values[key] = (value, size)

    def take(self, key: Key) -> Value | None:
        """Removes and returns the value of a key; None where it is not cached."""
        value, size = self._values.pop(key, (None, 0))
        self._room += size
        return value
