"""What the use cases of approvals ask of storage, within one transaction of one tenant; see `records.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.approval_definitions import Definition


class Definitions(Protocol):
    """The tenant's own approval definitions; the profile's are not stored."""

    async def get(self, definition_id: str) -> Definition | None:
        """One definition."""
        ...

    async def locked(self, definition_id: str) -> Definition | None:
        """The definition, which nobody else changes before this transaction ends."""
        ...

    async def all(self) -> Sequence[Definition]:
        """Every definition, by id; a tenant has a bounded number."""
        ...

    async def page(self, after: str | None, most: int) -> Sequence[Definition]:
        """A page of definitions by id.

        Args:
            after: The id of the last one of the page before.
            most: Definitions at most.
        """
        ...

    async def count(self) -> int:
        """How many there are; nobody adds one before this transaction ends."""
        ...

    async def save(self, definition: Definition, saved_by: str, now: datetime) -> Definition | None:
        """Adds a definition of version 0, or replaces the one of its version.

        Returns:
            The definition as it is stored, of the next version; None when it is there already, or has another version.
        """
        ...

    async def remove(self, definition_id: str) -> bool:
        """Removes a definition; False when there was none."""
        ...
