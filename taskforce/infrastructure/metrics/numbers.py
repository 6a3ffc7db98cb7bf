"""Where the numbers of the series are."""

from array import array
from typing import Protocol, TypeAlias

Doubles: TypeAlias = "array[float] | memoryview[float]"


class Numbers(Protocol):
    """A growing row of numbers, all 0 at first."""

    @property
    def values(self) -> Doubles:
        """Returns the numbers."""
        ...

    def take(self, count: int) -> int:
        """Takes further numbers into use; returns the place of the first."""
        ...


class LocalNumbers:
    """Numbers in this process's memory."""

    def __init__(self) -> None:
        self._values = array("d")

    @property
    def values(self) -> Doubles:
        """Returns the numbers."""
        return self._values

    def take(self, count: int) -> int:
        """Takes further numbers into use; returns the place of the first."""
        first = len(self._values)
        self._values.extend([0.0] * count)
        return first
