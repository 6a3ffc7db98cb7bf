"""The repository of a tenant's budgets and their ledgers, within one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from taskforce.core.domain.metering.budget_ledgers import Draw, Ledger
from taskforce.core.domain.metering.budgets import Budget, BudgetScope, LedgerKey


class CallKey(NamedTuple):
    """The key of an attempt of a call; step 0 is the run itself."""

    run_id: str
    step: int
    call: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """The outcome of a reservation.

    Attributes:
        granted: Whether every ledger had room, and all of it is reserved; else none of it is.
        ledgers: The ledgers before it, in the order of their keys, without what earlier attempts had reserved.
        ended: Whether the run has ended, which then reserves nothing.
    """

    granted: bool
    ledgers: Sequence[Ledger]
    ended: bool = False


@dataclass(frozen=True, slots=True)
class BudgetFilter:
    """Which budgets a list shows; None does not filter."""

    scope: BudgetScope | None = None
    scope_id: str | None = None


class Budgets(Protocol):
    """The repository of a tenant's budgets."""

    async def add(self, budget: Budget) -> None:
        """Adds a budget."""
        ...

    async def get(self, budget_id: str) -> Budget | None:
        """Returns a budget; None without one."""
        ...

    async def save(self, budget: Budget) -> None:
        """Updates a budget's terms."""
        ...

    async def remove(self, budget_id: str) -> bool:
        """Removes a budget with its ledgers; False when there was none."""
        ...

    async def count(self) -> int:
        """Returns how many budgets the tenant has."""
        ...

    async def all(self) -> Sequence[Budget]:
        """Returns every budget, by id."""
        ...

    async def page(self, which: BudgetFilter, after: str | None, most: int) -> Sequence[Budget]:
        """Returns a page of budgets by id.

        Args:
            which: The filter.
            after: The id of the last budget of the page before.
            most: Budgets at most.
        """
        ...

    async def ledgers(self, draws: Sequence[Draw]) -> Sequence[Ledger]:
        """Returns the ledgers of draws, in their order; one without use is empty."""
        ...

    async def most_used(self, since: Mapping[Budget, datetime], most: int) -> Sequence[Ledger]:
        """Returns ledgers of budgets whose period began at a time or later, of each those with the most used.

        Args:
            since: The budgets, with that time, UTC.
            most: Ledgers of each budget at most.
        """
        ...

    async def reserve(self, call: CallKey, draws: Sequence[Draw], now: datetime) -> Reserved:
        """Reserves for an attempt of a call on every ledger, or on none; earlier attempts' reservations are released.

        The ledgers are locked in the order of their keys until the commit.

        Args:
            call: The attempt.
            draws: What is reserved, in the order of the ledgers' keys.
            now: The time, UTC.
        """
        ...

    async def settle(self, call: CallKey, draws: Sequence[Draw], now: datetime) -> Sequence[Ledger]:
        """Adds what an attempt has used, and releases what it had reserved.

        Args:
            call: The attempt.
            draws: What it has used of each ledger, in the order of their keys.
            now: The time, UTC.

        Returns:
            The ledgers that have passed their soft limit with it, for the first time.
        """
        ...

    async def tell_soft(self, key: LedgerKey, now: datetime) -> None:
        """Notes that people are told that a ledger, which is locked, has passed its soft limit."""
        ...

    async def finish(self, run_id: str) -> None:
        """Releases what an ended run had still reserved, and counts it as a run where it had begun."""
        ...

    async def raise_ledger(self, key: LedgerKey, amount: Decimal) -> Decimal | None:
        """Raises the limit of a ledger by an amount; returns by how much it is raised in all, None without a budget."""
        ...

    async def erase(self, began_before: datetime, most: int) -> int:
        """Erases ledgers of periods that began before a time, those of open runs left out; returns their number."""
        ...
