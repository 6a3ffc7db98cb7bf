"""Phases of a tenant's deletion, as its workflow calls them; each can be repeated after an interruption."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from taskforce.core.interfaces.workflows import Forgotten, RunTermination, TenantHistories

ROWS: Final = 2_000
"""Rows that one transaction erases, at most."""
RUNS: Final = 1_000
"""Runs that are read and cancelled at a time."""
LOOK_SECONDS: Final = 0.5
AGAIN: Final = timedelta(seconds=15)
"""The time after which a run that has not ended is cancelled again."""
PATIENCE: Final = timedelta(minutes=1)
"""The time after which a run that was cancelled and has not ended is ended: it waits for what is stuck."""
LEFT_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """The state of the erasure.

    Attributes:
        rows: Rows erased so far.
        log_kept_until: The end of the audit log's retention, while only the log is left; None once it is erased too.
    """

    rows: int
    log_kept_until: datetime | None


class TenantErasure:
    """Use cases of the activities of the `TenantDeletion` workflow.

    Args:
        store: The tenants' data.
        platform: Finds the report of a deletion, whichever tenant keeps it.
        runs: Cancels the workflows of runs, and terminates them.
        histories: The workflow histories of a tenant.
        lifecycle: Ends the rows of runs that have no workflow.
        clock: The time, UTC.
        patience: The time that a cancelled run has to end by itself.
    """

    def __init__(
        self,
        store: Store,
        platform: Platform,
        *,
        runs: RunTermination,
        histories: TenantHistories,
        lifecycle: RunLifecycle,
        clock: Clock,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._store = store
        self._platform = platform
        self._runs = runs
        self._histories = histories
        self._lifecycle = lifecycle
        self._clock = clock
        self._patience = patience

    async def begin(self, tenant_id: str) -> Deletion:
        """Records that the workflow has begun, and returns the deletion.

        Raises:
            Missing: `deletion_not_found`.
        """
        deletion = await self._deletion(tenant_id)
        await self._passed(deletion, Phase.BEGUN, {})
        return deletion

    async def end_runs(self, tenant_id: str) -> int:
        """Waits until no run is open; cancels runs at once, or when the time to drain them is over.

        A run that is still open a while after its cancellation is terminated: its workflow, or the one of a request
        that it waits for, makes no progress, and a tenant that is to go does not wait for that.

        Approval requests of runs are closed with their runs. It takes as long as the runs do.

        Returns:
            The number of runs that have ended since the deletion was requested.
        """
        deletion = await self._deletion(tenant_id)
        order, cancelled_at, since = deletion.order, dict[str, datetime](), dict[str, datetime]()
        while open_runs := await self._open_runs(tenant_id):
            now = self._clock()
            if order.runs_until is None or now >= order.runs_until:
                await self._cancel(tenant_id, open_runs, cancelled_at, now)
                await self._terminate(tenant_id, open_runs, since, now)
            await asyncio.sleep(LOOK_SECONDS)
        async with self._store.tenant(tenant_id) as records:
            runs = await records.tenant_data.runs_ended(order.requested_at)
            requests = await records.tenant_data.requests_closed(order.requested_at)
        await self._passed(deletion, Phase.RUNS_ENDED, {"runs": runs, "requests": requests})
        return sum(runs.values())

    async def erase(self, tenant_id: str) -> Erased:
        """Erases the tenant's rows, batch by batch; each batch is a transaction that also counts its rows.

        The audit log is erased last, after its retention. It is sealed first, and the report keeps its last anchor.

        Returns:
            The state of the erasure.
        """
        deletion = await self._deletion(tenant_id)
        if deletion.log_end is None:
            await seal_tenant(self._store, tenant_id)
        while await self._erase_batch(deletion):
            continue
        await self._passed(deletion, Phase.DATA_ERASED, {})
        now_so = await self._deletion(tenant_id)
        kept = now_so.log_kept_until if now_so.erased_at is None else None
        return Erased(sum(now_so.erased.values()), kept)

    async def forget(self, tenant_id: str) -> Forgotten:
        """Deletes the workflow histories of the tenant, as far as Temporal permits, and records their number."""
        deletion = await self._deletion(tenant_id)
        forgotten = await self._histories.forget(tenant_id)
        facts = {"deleted": forgotten.deleted, "left": forgotten.left}
        await self._passed(deletion, Phase.HISTORIES_DELETED, facts)
        return forgotten

    async def verify(self, tenant_id: str) -> None:
        """Requires that no table of the schema has rows of the tenant, and completes the report.

        Raises:
            Unavailable: `rows_left`: another process was still writing; the rows are erased before the next attempt.
        """
        deletion = await self._deletion(tenant_id)
        async with self._store.tenant(tenant_id) as records:
            left = await records.tenant_data.tables()
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
            # In the tenant that requested the deletion, for the rows of the deleted one go.
            await records.deletions.passed(deletion.order.tenant_id, phase, facts, self._clock())

    async def _open_runs(self, tenant_id: str) -> Sequence[str]:
        async with self._store.tenant(tenant_id) as records:
            return await records.tenant_data.open_runs(RUNS)

    async def _cancel(
        self, tenant_id: str, run_ids: Sequence[str], cancelled: dict[str, datetime], now: datetime
    ) -> None:
        for run_id in run_ids:
            if run_id in cancelled and now - cancelled[run_id] < AGAIN:
                continue
            cancelled[run_id] = now
            try:
                await self._runs.cancel(tenant_id, run_id)
            except Missing:
                # The run was never started, or its workflow was terminated from outside: nothing else ends its row.
                await self._lifecycle.end(tenant_id, run_id, Ending(RunStatus.CANCELLED))

    async def _terminate(
        self, tenant_id: str, run_ids: Sequence[str], since: dict[str, datetime], now: datetime
    ) -> None:
        for run_id in run_ids:
            if now - since.setdefault(run_id, now) < self._patience:
                continue
            # A run without a workflow may still have an open row, which is ended in any case.
            with suppress(Missing):
                await self._runs.terminate(tenant_id, run_id)
            await self._lifecycle.end(tenant_id, run_id, Ending(RunStatus.CANCELLED))
            _log.warning("run.terminated", tenant_id=tenant_id, run_id=run_id, reason="its tenant is deleted")

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
