"""What the workflow of a tenant's deletion does, phase by phase. Each may be done again, from any point on."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from taskforce.application.audit.events import system_event
from taskforce.application.audit.sealing import seal_tenant
from taskforce.application.runs.lifecycle import RunLifecycle
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Missing, Unavailable
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.tenants.deletion import Deletion, Phase
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Platform, Store
from taskforce.core.interfaces.workflows import Forgotten, RunCancellation, TenantHistories

ROWS: Final = 2_000
"""Rows that one transaction erases at most."""
RUNS: Final = 1_000
"""Runs that are looked at, and cancelled, at a time."""
LOOK_SECONDS: Final = 0.5
AGAIN: Final = timedelta(seconds=15)
"""After so long a run that has not ended is cancelled once more."""
LEFT_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """How far the erasing has come.

    Attributes:
        rows: Rows erased so far.
        log_kept_until: All but the audit log is gone, which stays until then; None when that is gone too.
    """

    rows: int
    log_kept_until: datetime | None


class Erasing:
    """The use cases behind the activities of `TenantDeletion`.

    Args:
        store: The tenants' data.
        platform: The door that finds a report, whoever keeps it.
        runs: The workflows of their runs.
        histories: The histories of all their workflows.
        lifecycle: Ends the rows of runs that have no workflow.
        clock: The time.
    """

    def __init__(
        self,
        store: Store,
        platform: Platform,
        *,
        runs: RunCancellation,
        histories: TenantHistories,
        lifecycle: RunLifecycle,
        clock: Clock,
    ) -> None:
        self._store = store
        self._platform = platform
        self._runs = runs
        self._histories = histories
        self._lifecycle = lifecycle
        self._clock = clock

    async def begin(self, tenant_id: str) -> Deletion:
        """Notes that the workflow has begun, and tells what was asked for.

        Raises:
            Missing: `deletion_not_found`.
        """
        deletion = await self._deletion(tenant_id)
        await self._passed(deletion, Phase.BEGUN, {})
        return deletion

    async def end_runs(self, tenant_id: str) -> int:
        """Waits until no run is open, and cancels them at once, or when the time to drain them is over.

        Requests for approval close with their runs. It takes as long as the runs do.

        Returns:
            How many runs have ended since the deletion was asked for.
        """
        deletion = await self._deletion(tenant_id)
        order, told = deletion.order, dict[str, datetime]()
        while open_runs := await self._open_runs(tenant_id):
            now = self._clock()
            if order.runs_until is None or now >= order.runs_until:
                await self._cancel(tenant_id, open_runs, told, now)
            await asyncio.sleep(LOOK_SECONDS)
        async with self._store.tenant(tenant_id) as records:
            runs = await records.estate.runs_ended(order.requested_at)
            requests = await records.estate.requests_closed(order.requested_at)
        await self._passed(deletion, Phase.RUNS_ENDED, {"runs": runs, "requests": requests})
        return sum(runs.values())

    async def erase(self, tenant_id: str) -> Erased:
        """Erases what may go now, batch by batch; each is a transaction of its own and is counted in it.

        The audit log goes last, and only when its time is over: sealed to its end, which the report keeps.
        """
        deletion = await self._deletion(tenant_id)
        if deletion.log_end is None:
            await seal_tenant(self._store, tenant_id, self._clock(), full=True)
        while await self._erase_batch(deletion):
            continue
        await self._passed(deletion, Phase.DATA_ERASED, {})
        now_so = await self._deletion(tenant_id)
        kept = now_so.log_kept_until if now_so.erased_at is None else None
        return Erased(sum(now_so.erased.values()), kept)

    async def forget(self, tenant_id: str) -> Forgotten:
        """Deletes the histories of the tenant's workflows, as far as Temporal lets us, and notes how many."""
        deletion = await self._deletion(tenant_id)
        forgotten = await self._histories.forget(tenant_id)
        facts = {"deleted": forgotten.deleted, "left": forgotten.left}
        await self._passed(deletion, Phase.HISTORIES_DELETED, facts)
        return forgotten

    async def verify(self, tenant_id: str) -> None:
        """Looks into every table that the code knows, and closes the report when none holds a row of the tenant.

        Raises:
            Unavailable: `rows_left`: somebody was still writing; what was found is erased before the next look.
        """
        deletion = await self._deletion(tenant_id)
        async with self._store.tenant(tenant_id) as records:
            left = await records.estate.tables()
        if left:
            await self.erase(tenant_id)
            raise Unavailable("rows_left", f"There were still rows in {', '.join(left)}.", retry_after=LEFT_SECONDS)
        now = self._clock()
        async with self._store.tenant(deletion.home_id) as records:
            if await records.deletions.passed(tenant_id, Phase.VERIFIED, {}, now):
                await records.audit.append(_erased(deletion, now))
        _log.info("tenant.deleted", deleted_tenant_id=tenant_id, rows=sum(deletion.erased.values()))

    async def _deletion(self, tenant_id: str) -> Deletion:
        found = await self._platform.deletion(tenant_id)
        if found is None:
            raise missing("deletion")
        return found

    async def _passed(self, deletion: Deletion, phase: Phase, facts: Mapping[str, object]) -> None:
        async with self._store.tenant(deletion.home_id) as records:
            await records.deletions.passed(deletion.order.tenant_id, phase, facts, self._clock())

    async def _open_runs(self, tenant_id: str) -> Sequence[str]:
        async with self._store.tenant(tenant_id) as records:
            return await records.estate.open_runs(RUNS)

    async def _cancel(self, tenant_id: str, run_ids: Sequence[str], told: dict[str, datetime], now: datetime) -> None:
        for run_id in run_ids:
            if run_id in told and now - told[run_id] < AGAIN:
                continue
            told[run_id] = now
            try:
                await self._runs.cancel(tenant_id, run_id)
            except Missing:
                # It was never started, or its workflow was ended from outside: nobody else ends its row.
                await self._lifecycle.end(tenant_id, run_id, Ending(RunStatus.CANCELLED))

    async def _erase_batch(self, deletion: Deletion) -> bool:
        async with self._store.tenant(deletion.home_id) as records:
            return await records.deletions.erase(deletion.order.tenant_id, ROWS) is not None


def _erased(deletion: Deletion, now: datetime) -> AuditEvent:
    return system_event(
        "tenant.erased",
        "tenant",
        deletion.order.tenant_id,
        now,
        on_behalf_of=deletion.order.requested_by,
        rows=sum(deletion.erased.values()),
        log_end=str(deletion.log_end),
    )
