"""The rollup of usage: records are added to their buckets, storage is measured, and API calls are counted."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from itertools import pairwise
from typing import Protocol

import structlog

from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.sweeps import TENANTS, in_shares, is_swept
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.metering.periods import Period, TimeStep, counted_until
from taskforce.core.domain.metering.prices import Resource
from taskforce.core.domain.tenants.tenant import Tenant, parse_tenant_id
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.due_rows import DueKind, DueTenants
from taskforce.core.interfaces.store import Store, Tenants

BATCH = 2_000
"""Records of one tenant in a turn; then it is the others' turn."""
LONGEST_REBUILD = timedelta(days=400)
# Clocks of workers differ, and a record's time is its worker's.
_AHEAD = timedelta(days=1)

_log = structlog.get_logger(__name__)


class RollupStore(Store, DueTenants, Tenants, Protocol):
    """The tenants' rows, and look-ups across tenants."""


@dataclass(frozen=True, slots=True)
class RollupProgress:
    """Progress of a rollup.

    Attributes:
        records: Usage records that were added to buckets.
        batches: Statements that did so.
        failed: Tenants, by id, whose records could not be added.
        measured: Tenants whose storage was measured.
        after: The last tenant whose storage was looked at; empty before the first.
    """

    records: int = 0
    batches: int = 0
    failed: frozenset[str] = frozenset()
    measured: int = 0
    after: str = ""


Tell = Callable[[RollupProgress], None]
"""Hears how far a rollup has come, after each step of it."""


class UsageRollup:
    """Rolls up the usage of all tenants; to do it again changes nothing.

    Args:
        store: The tenants' rows, and look-ups across tenants.
        clock: The time, UTC.
        prices: The prices of storage and of API calls.
    """

    def __init__(self, store: RollupStore, clock: Clock, prices: PriceBooks) -> None:
        self._store = store
        self._clock = clock
        self._prices = prices

    async def roll_up(self, progress: RollupProgress, tell: Tell) -> RollupProgress:
        """Adds all usage records that are in no bucket to their buckets, of all tenants in turn.

        Only tenants with such records are visited. One that fails is logged and counted, and the others go on.

        Args:
            progress: How far an earlier attempt has come; what it has added is marked, and is not added again.
            tell: Hears of each batch.

        Returns:
            What was done, the earlier attempt included.
        """

        async def share(tenant_id: str) -> bool:
            nonlocal progress
            try:
                async with self._store.tenant(tenant_id) as records:
                    behind = await records.usage_buckets.follow_zone()
                    added = await records.usage_buckets.roll_up(BATCH)
            except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the records of others
                _log.error("usage.not_rolled_up", tenant_id=tenant_id, error=type(error).__name__)
                progress = replace(progress, failed=progress.failed | {tenant_id})
                return False
            progress = replace(progress, records=progress.records + added, batches=progress.batches + bool(added))
            tell(progress)
            return behind or added == BATCH

        await in_shares(self._due(), share)
        return progress

    async def measure_storage(self, progress: RollupProgress, tell: Tell) -> RollupProgress:
        """Measures what each tenant stores, unless that was done today, and counts its API calls.

        A day is one of UTC. Both cost what they cost by the prices of now.

        Args:
            progress: How far an earlier attempt has come; it goes on after `progress.after`.
            tell: Hears of each page of tenants.

        Returns:
            What was done, the earlier attempt included.
        """
        now = self._clock()
        while page := await self._store.tenants(progress.after, TENANTS):
            measured = [await self._measure(tenant) for tenant in page if is_swept(tenant, now)]
            progress = replace(progress, measured=progress.measured + sum(measured), after=page[-1].tenant_id)
            tell(progress)
        return progress

    async def rebuild(self, tenant_id: str, period: Period) -> int:
        """Replaces the buckets of a period by sums of its usage records, day by day.

        Args:
            tenant_id: The tenant.
            period: The period.

        Returns:
            The number of records in the buckets.

        Raises:
            Missing: `tenant_not_found`.
            Invalid: `period_invalid`: it is longer than `LONGEST_REBUILD`.
            Conflict: `usage_erased`: retention has erased records of the period; what was rebuilt before stays so.
        """
        if period.end - period.start > LONGEST_REBUILD:
            raise Invalid("period_invalid", f"A period of at most {LONGEST_REBUILD.days} days is rebuilt at a time.")
        bounds, summed = period.bounds(TimeStep.DAY, UTC), 0
        for start, end in pairwise(bounds):
            async with self._store.tenant(parse_tenant_id(tenant_id)) as records:
                found = await records.usage_buckets.rebuild(Period(start, end))
            if found is None:
                text = "Retention has erased usage records of this period, so that their sums cannot be made anew."
                raise Conflict("usage_erased", text)
            summed += found
        return summed

    async def _due(self) -> AsyncIterator[Sequence[str]]:
        after = ""
        while page := await self._store.due_tenants(DueKind.USAGE, self._clock() + _AHEAD, after, TENANTS):
            yield [tenant_id for tenant_id, _ in page]
            after = page[-1][0]

    async def _measure(self, tenant: Tenant) -> bool:
        now = self._clock()
        try:
            async with self._store.tenant(tenant.tenant_id) as records:
                # An earlier day of those whose turn in a rollup has not come, for they have used nothing since.
                await records.usage_buckets.follow_zone()
                book = await self._prices.of(records, tenant)
                stored = book.unit_price(Resource.STORAGE, "", now)
                called = book.unit_price(Resource.API_CALL, "", now)
                await records.usage_buckets.count_calls(counted_until(now), called)
                return await records.usage_buckets.measure_storage(now.date(), stored)
        except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the others
            _log.error("storage.not_measured", tenant_id=tenant.tenant_id, error=type(error).__name__)
            return False
