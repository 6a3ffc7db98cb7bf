"""The protocols of due rows: those that a sweep is to look after, of all tenants.

A row tells by a time from when a sweep looks after it. Whoever looks after rows claims them first, by a later time: of
several processes one does it, and if it dies, the rows are due again when the claim is over.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class DueKind(StrEnum):
    """A kind of due rows; each has an index of its own."""

    RUN_START = "runs.start"
    RUN_CHECK = "runs.check"
    RUN_CANCELLATION = "runs.cancel"
    MESSAGE = "messages.tell"
    REQUEST_START = "requests.start"
    REQUEST_CHECK = "requests.check"
    DELIVERY_START = "deliveries.start"
    DELIVERY_CHECK = "deliveries.check"
    USAGE = "usage.roll_up"
    """Usage records that are in no bucket; they are looked after by a statement, and so not claimed."""


@dataclass(frozen=True, slots=True)
class DueRow:
    """A claimed row.

    Attributes:
        row_id: The id of the run, message, request or delivery.
        label: The event of a delivery; empty for others.
        event_id: The id of that event; empty for others.
    """

    row_id: str
    label: str = ""
    event_id: str = ""


class DueRows(Protocol):
    """The repository of one tenant's due rows."""

    async def claim(self, kind: DueKind, before: datetime, until: datetime, most: int) -> Sequence[DueRow]:
        """Claims rows that nobody else has claimed, those first that are due for longest.

        Args:
            kind: The kind of rows, one whose rows are claimed.
            before: Rows that were due before this time.
            until: The time at which they are due again, unless they are postponed.
            most: The number of rows at most.
        """
        ...

    async def postpone(self, kind: DueKind, row_ids: Sequence[str], until: datetime) -> None:
        """Postpones rows that are still of the kind: they are due again at a time."""
        ...


class DueRecords(Protocol):
    """The records of one tenant, as far as sweeps of due rows need them."""

    @property
    def due_rows(self) -> DueRows:
        """Returns the repository of due rows."""
        ...


class DueTenants(Protocol):
    """Look-ups of the tenants that have due rows; their cost grows with the tenants that have rows of the kind."""

    async def due_tenants(self, kind: DueKind, before: datetime, after: str, most: int) -> Sequence[tuple[str, bool]]:
        """Returns a page of the tenants that have rows of a kind, by id.

        Args:
            kind: The kind of rows.
            before: The time before which a row is due.
            after: The last tenant of the page before; empty for the first page.
            most: The number of tenants at most.

        Returns:
            Each tenant, and whether it has due rows.
        """
        ...

    async def due_among(self, kind: DueKind, before: datetime, tenants: Collection[str]) -> Sequence[str]:
        """Returns those of some tenants that have rows which were due before a time, by id."""
        ...


class DueStore(DueTenants, Protocol):
    """Due rows: look-ups across tenants, and the records of each."""

    def tenant(self, tenant_id: str) -> AbstractAsyncContextManager[DueRecords]:
        """Opens a transaction that sees only the tenant's rows (row-level security)."""
        ...
