"""The protocol of what waits, across all tenants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.interfaces.due_rows import DueKind
from taskforce.core.interfaces.metrics import BudgetUsed


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows that wait.

    Attributes:
        number: Their number; of late rows, that of the tenants that have some.
        since: Since when the oldest waits, UTC; None where there is none.
    """

    number: int
    since: datetime | None


class Backlog(Protocol):
    """Looks at what waits; the tenants are counted to 1,000."""

    async def late_rows(self, kind: DueKind, before: datetime) -> Waiting:
        """Returns how many tenants have rows of a kind that were due before a time."""
        ...

    async def pending_requests(self) -> Mapping[str, Waiting]:
        """Returns the requests for approval that wait for people, by tenant."""
        ...

    async def budgets_used(self, now: datetime) -> Sequence[tuple[str, BudgetUsed]]:
        """Returns how much of budgets is used in their current periods, with their tenants; the 500 fullest at most.

        Budgets of single runs are left out.
        """
        ...
