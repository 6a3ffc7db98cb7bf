"""The repository of audit events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.audit.chain import Anchor, Sealed
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter, AuditRecord
from taskforce.core.domain.paging import Page


class Audit(Protocol):
    """The repository of the append-only audit log and its hash chain."""

    async def append(self, event: AuditEvent) -> None:
        """Appends an event, in the same transaction as the change that it records."""
        ...

    async def page(self, which: AuditFilter, page: Page) -> Sequence[AuditRecord]:
        """Returns a page of events, newest first."""
        ...

    async def sealing(self) -> Anchor:
        """Locks the chain against other sealers; returns its end."""
        ...

    async def end(self) -> tuple[Anchor, datetime | None]:
        """Returns the end of the chain, and the time of its last event; None for a chain without events."""
        ...

    async def start(self) -> Anchor:
        """Returns the beginning of the chain: its genesis, or the anchor after dropped events."""
        ...

    async def anchor(self, seq: int) -> Anchor | None:
        """Returns the anchor after an event; None without such an event."""
        ...

    async def unsealed(self, after: tuple[datetime, str] | None, most: int) -> Sequence[AuditRecord]:
        """Returns events that are not sealed yet, in the order of time and id; those after such a place, or all."""
        ...

    async def place(self, sealed: Sequence[Sealed]) -> None:
        """Stores the chain positions of events."""
        ...

    async def sealed(self, after: int, until: int, most: int) -> Sequence[Sealed]:
        """Returns sealed events after a number and up to another."""
        ...

    async def places(self, since: datetime | None, until: datetime | None) -> tuple[int, int] | None:
        """Returns the numbers of the first and last sealed event in a period, its end excluded; None without one."""
        ...

    async def drop(self, older_than: datetime, most: int) -> int:
        """Drops sealed events from the beginning of the chain, and stores the anchor after them.

        Args:
            older_than: Events before this time are dropped; those of the last 23 hours stay in any case.
            most: Events at most.

        Returns:
            Number of dropped events.
        """
        ...
