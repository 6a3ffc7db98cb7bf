"""The repository of audit events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.audit.chain import Anchor, Sealed
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter, AuditRecord
from taskforce.core.domain.paging import Page


class Audit(Protocol):
    """The append-only audit log and its chain; the only place that writes it."""

    async def append(self, event: AuditEvent) -> None:
        """Appends one event, committed with what it tells of."""
        ...

    async def page(self, which: AuditFilter, page: Page) -> Sequence[AuditRecord]:
        """A page of events, newest first."""
        ...

    async def sealing(self) -> tuple[Anchor, datetime | None]:
        """Waits for other sealers; returns the end of the chain, and the time of its last event."""
        ...

    async def end(self) -> tuple[Anchor, datetime | None]:
        """The end of the chain, and the time of its last event; None when the chain holds none."""
        ...

    async def start(self) -> Anchor:
        """Where the chain begins: at its genesis, or after what was dropped."""
        ...

    async def anchor(self, seq: int) -> Anchor | None:
        """The place after an event that is kept; None when there is no such event."""
        ...

    async def unsealed(self, since: datetime | None, most: int) -> Sequence[AuditRecord]:
        """Events that have no place yet, the oldest first; of those since a time, or of all."""
        ...

    async def place(self, sealed: Sequence[Sealed]) -> None:
        """Keeps the places of events."""
        ...

    async def sealed(self, after: int, until: int, most: int) -> Sequence[Sealed]:
        """Events in their places, after a number and up to another one."""
        ...

    async def places(self, since: datetime | None, until: datetime | None) -> tuple[int, int] | None:
        """The numbers of the first and the last sealed event of a time, its end left out; None when there is none."""
        ...

    async def drop(self, older_than: datetime, most: int) -> int:
        """Drops sealed events from the chain's beginning on, and keeps the anchor after them.

        Args:
            older_than: The first event that is not older ends it; the last 23 hours stay whatever it says.
            most: Events at most.

        Returns:
            How many were dropped.
        """
        ...
