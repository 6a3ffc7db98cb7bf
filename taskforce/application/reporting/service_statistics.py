"""Service statistics: what a process counts in each minute, and stores every few seconds."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from taskforce.application.sweeps import expired_tenants, in_turn
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.service_levels import BOUNDS, ServiceKind, ServiceStatistics, is_error_status
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.expired_rows import ExpiredKind, ExpiredRows
from taskforce.core.interfaces.metrics import Fact, ModelCalled, RequestAnswered, RunEnded
from taskforce.core.interfaces.repositories.service_statistics import MinuteStatistics
from taskforce.core.interfaces.store import Store

FLUSH_SECONDS: Final = 5.0
AT_ONCE: Final = 4
"""Tenants whose statistics are stored at a time."""
MOST_SUMS: Final = 50_000
"""Sums that are kept in memory at most, where the database does not answer; what comes beyond is not counted."""
DROP_BATCH: Final = 10_000
_OTHER: Final = "other"
_LONGEST_NAME: Final = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Key:
    tenant_id: str
    kind: ServiceKind
    name: str
    status_class: str
    minute: datetime


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, seconds: float, *, failed: bool) -> None:
        self.requests += 1
        self.errors += failed
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        self.counts[bisect_left(BOUNDS, seconds)] += 1

    def statistics(self) -> ServiceStatistics:
        return ServiceStatistics(self.requests, self.errors, self.seconds, self.longest, tuple(self.counts))


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, run or model call, as it counts."""

    kind: ServiceKind
    name: str
    status_class: str
    seconds: float
    failed: bool


class StatisticsLog:
    """Counts requests, runs and model calls of each minute, and stores the sums; fulfils `FactObserver`.

    A process that is killed loses the seconds since it last stored. What it stores are its own sums of a minute so far,
    in place of those before, so that a repetition changes nothing.

    Args:
        clock: The time, UTC.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._process_id = new_id()
        self._sums: dict[_Key, _Sums] = {}
        self._changed: set[_Key] = set()
        self._lost = 0

    def observed(self, tenant_id: str, facts: Sequence[Fact]) -> None:
        """Counts what has happened to a tenant; requests without one are nobody's service."""
        for fact in facts if tenant_id else ():
            call = _call(fact)
            if call is not None:
                self._count(tenant_id, call)

    def _count(self, tenant_id: str, call: _Call) -> None:
        minute = self._clock().astimezone(UTC).replace(second=0, microsecond=0)
        key = _Key(tenant_id, call.kind, call.name[:_LONGEST_NAME], call.status_class, minute)
        sums = self._sums.get(key)
        if sums is None:
            if len(self._sums) >= MOST_SUMS:
                self._lost += 1
                return
            sums = self._sums[key] = _Sums()
        sums.add(max(call.seconds, 0.0), failed=call.failed)
        self._changed.add(key)

    async def flush(self, store: Store) -> None:
        """Stores what has changed; what cannot be stored is tried again with the next flush.

        Args:
            store: The tenants' data.
        """
        changed, self._changed = self._changed, set()
        by_tenant: dict[str, list[_Key]] = {}
        for key in changed:
            by_tenant.setdefault(key.tenant_id, []).append(key)
        lanes = asyncio.Semaphore(AT_ONCE)

        async def one(tenant_id: str, keys: Sequence[_Key]) -> None:
            async with lanes:
                await self._save(store, tenant_id, keys)

        await asyncio.gather(*(one(tenant_id, keys) for tenant_id, keys in sorted(by_tenant.items())))
        self._forget()

    async def _save(self, store: Store, tenant_id: str, keys: Sequence[_Key]) -> None:
        minutes = [self._minute(key) for key in keys]
        try:
            async with store.counting(tenant_id) as records:
                await records.service_statistics.save(minutes)
        except Conflict:
            # The tenant has been deleted.
            return
        except Exception as error:  # noqa: BLE001 - the statistics of one tenant must not keep those of others
            self._changed.update(keys)
            _log.warning("statistics.not_stored", tenant_id=tenant_id, error=type(error).__name__)
        except asyncio.CancelledError:
            self._changed.update(keys)
            raise

    def _minute(self, key: _Key) -> MinuteStatistics:
        sums = self._sums[key].statistics()
        return MinuteStatistics(key.kind, key.name, key.status_class, key.minute, self._process_id, sums)

    def _forget(self) -> None:
        """Forgets what is stored of minutes that are over."""
        now = self._clock()
        over = [key for key in self._sums if key not in self._changed and now - key.minute > timedelta(minutes=2)]
        for key in over:
            del self._sums[key]
        if self._lost:
            _log.warning("statistics.not_counted", count=self._lost)
            self._lost = 0


@asynccontextmanager
async def storing(log: StatisticsLog, store: Store, seconds: float = FLUSH_SECONDS) -> AsyncIterator[None]:
    """Stores the statistics every few seconds while the block lasts, and once more at its end.

    Args:
        log: The statistics.
        store: The tenants' data.
        seconds: The time between two flushes.
    """
    repeating = asyncio.create_task(_repeat(log, store, seconds))
    try:
        yield
    finally:
        repeating.cancel()
        await asyncio.gather(repeating, return_exceptions=True)
        await log.flush(store)


async def _repeat(log: StatisticsLog, store: Store, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await log.flush(store)


async def drop_old_statistics(rows: ExpiredRows, store: Store, days: int, now: datetime) -> int:
    """Drops the statistics of all tenants that are older than some days, a batch of each tenant in turn.

    Args:
        rows: Finds the tenants with old statistics.
        store: The tenants' data.
        days: The days for which statistics are kept.
        now: The time, UTC.

    Returns:
        The number of dropped rows.
    """
    before = now - timedelta(days=days)

    async def drop(tenant_id: str) -> int:
        try:
            async with store.counting(tenant_id) as records:
                return await records.service_statistics.drop(before, DROP_BATCH)
        except Exception as error:  # noqa: BLE001 - an error of one tenant must not keep the rows of others
            _log.error("statistics.not_dropped", tenant_id=tenant_id, error=type(error).__name__)
            return 0

    return await in_turn(await expired_tenants(rows, ExpiredKind.STATISTICS, now, before), drop)


def _call(fact: Fact) -> _Call | None:
    match fact:
        case RequestAnswered(endpoint, _, status, seconds):
            failed = is_error_status(status)
            return _Call(ServiceKind.ENDPOINT, endpoint, f"{status // 100}xx", seconds, failed)
        case RunEnded(agent_id, status, seconds):
            return _Call(ServiceKind.AGENT, agent_id or _OTHER, status, seconds, status == "failed")
        case ModelCalled(model, seconds):
            failed = fact.failed is not None
            return _Call(ServiceKind.MODEL, model, "failed" if failed else "succeeded", seconds, failed)
        case _:
            return None
