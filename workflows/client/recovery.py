"""Recovery: periodic sweeps that complete what a crash, an outage or an operator has left incomplete."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Protocol

from taskforce.application.approvals.decisions import ApprovalDecisions, found
from taskforce.application.approvals.results import erase_all_old_results
from taskforce.application.audit.retention import drop_all_expired
from taskforce.application.audit.sealing import seal_all
from taskforce.application.metering.budget_retention import erase_all_ledgers
from taskforce.application.reporting.backlog import BacklogWatch
from taskforce.application.reporting.service_statistics import drop_old_statistics
from taskforce.application.runs.lifecycle import RunLifecycle, settle
from taskforce.application.runs.message_signals import tell_late
from taskforce.application.runs.retention import erase_all_expired
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.sweep_leases import Sweep, SweepLeader
from taskforce.application.sweeps import AGAIN, DueSweep, EndedSweep, Look
from taskforce.application.tenants.deletion_requests import start_late_deletions
from taskforce.application.tenants.retention import erase_all_records
from taskforce.application.webhooks.delivery_log import settle_delivery
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.backlog import Backlog
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.due_rows import DueKind, DueRow, DueTenants
from taskforce.core.interfaces.expired_rows import ExpiredRows
from taskforce.core.interfaces.metrics import FactObserver, Observers
from taskforce.core.interfaces.store import Platform, Store, UnsealedLogs
from taskforce.core.interfaces.sweep_leases import SweepLeases
from taskforce.core.interfaces.workflows import (
    ApprovalWorkflows,
    DeliveryWorkflows,
    RunWorkflows,
    TenantWorkflows,
    WorkflowState,
)
from workflows.client.open_rows import OpenRows

SWEEP_SECONDS = 5.0
SEAL_SECONDS = 10.0
ERASE_SECONDS = 3_600.0
CHECK_SECONDS = 60.0
DELETION_SECONDS = 300.0
BACKLOG_SECONDS = 30.0
# The gateway starts what it has committed itself; only what is older than this counts as left behind.
LATE = timedelta(seconds=5)

Work = Callable[[], Awaitable[object]]


class RecoveryStore(Store, Platform, DueTenants, ExpiredRows, Backlog, UnsealedLogs, SweepLeases, Protocol):
    """The tenants' rows, and look-ups across tenants."""


class Workflows(Protocol):
    """The workflows of every noun."""

    @property
    def runs(self) -> RunWorkflows:
        """Returns the workflows of runs."""
        ...

    @property
    def approvals(self) -> ApprovalWorkflows:
        """Returns the workflows of approval requests."""
        ...

    @property
    def deliveries(self) -> DeliveryWorkflows:
        """Returns the workflows of webhook deliveries."""
        ...

    @property
    def tenants(self) -> TenantWorkflows:
        """Returns the workflows of tenant deletions."""
        ...


@dataclass(frozen=True, slots=True)
class RecoveryPorts:
    """The dependencies of recovery.

    Attributes:
        store: The tenants' rows, and look-ups across tenants.
        workflows: The workflows.
        run_cache: The specifications of runs.
        lifecycle: Closes the rows of runs.
        decisions: Closes the rows of requests.
        clock: The time.
        audit_days: Days that the audit log is kept; None for ever.
        observer: Learns of what waits, for the metrics.
        statistics_days: Days that service statistics are kept; None for ever.
    """

    store: RecoveryStore
    workflows: Workflows
    run_cache: RunCache
    lifecycle: RunLifecycle
    decisions: ApprovalDecisions
    clock: Clock
    audit_days: int | None = None
    observer: FactObserver = field(default_factory=Observers)
    statistics_days: int | None = None


@asynccontextmanager
async def recovery(ports: RecoveryPorts) -> AsyncIterator[None]:
    """Runs the sweeps while the block lasts: late starts, rows of terminated workflows, sealing, retention."""
    leader = SweepLeader(ports.store, new_id())
    leading = asyncio.create_task(leader.lead(_sweeps(ports)))
    try:
        yield
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)


def _sweeps(ports: RecoveryPorts) -> Mapping[str, Sweep]:
    """Builds all sweeps, each by the name of its lease."""
    store, clock = ports.store, ports.clock
    hourly: dict[str, Work] = {
        "audit.drop": lambda: drop_all_expired(store, store, ports.audit_days, clock()),
        "runs.erase": lambda: erase_all_expired(store, store, clock()),
        "records.erase": lambda: erase_all_records(store, store, clock()),
        "ledgers.erase": lambda: erase_all_ledgers(store, store, clock()),
        "results.erase": lambda: erase_all_old_results(store, store, clock()),
    }
    backlog = BacklogWatch(store, store, ports.observer, clock=clock, late=LATE)
    if (days := ports.statistics_days) is not None:
        hourly["statistics.drop"] = lambda: drop_old_statistics(store, store, days, clock())
    return {
        **_open_rows(ports),
        **_late_acts(ports),
        **_deletions(ports),
        "metrics.backlog": Sweep(BACKLOG_SECONDS, backlog.look),
        "audit.seal": Sweep(SEAL_SECONDS, lambda: seal_all(store, store, clock)),
        **{name: Sweep(ERASE_SECONDS, work) for name, work in hourly.items()},
    }


def _open_rows(ports: RecoveryPorts) -> Mapping[str, Sweep]:
    """Builds the sweeps that start late workflows, and settle rows whose workflow is gone."""
    kinds = (
        (DueKind.RUN_START, DueKind.RUN_CHECK, _runs(ports), ports.workflows.runs),
        (DueKind.REQUEST_START, DueKind.REQUEST_CHECK, _requests(ports), ports.workflows.approvals),
        (DueKind.DELIVERY_START, DueKind.DELIVERY_CHECK, _deliveries(ports), ports.workflows.deliveries),
    )
    sweeps: dict[str, Sweep] = {}
    for start, check, rows, workflows in kinds:
        sweeps |= _due(ports, start, rows.start_late)
        checks = DueSweep(ports.store, check, rows.check, clock=ports.clock, again=timedelta())
        sweeps[check] = Sweep(CHECK_SECONDS, partial(checks.sweep, AGAIN))
        ended = EndedSweep(workflows.ended_from_outside, rows.end, ports.clock)
        sweeps[f"{rows.noun}.ended"] = Sweep(SWEEP_SECONDS, ended.sweep)
    return sweeps


def _runs(ports: RecoveryPorts) -> OpenRows:
    async def start(tenant_id: str, row: DueRow) -> bool:
        return await ports.workflows.runs.start(await ports.run_cache.get(tenant_id, row.row_id))

    return OpenRows("runs", ports.workflows.runs.state, start, partial(settle, ports.lifecycle))


def _requests(ports: RecoveryPorts) -> OpenRows:
    async def start(tenant_id: str, row: DueRow) -> bool:
        async with ports.store.tenant(tenant_id) as records:
            request = await found(records, row.row_id)
        return await ports.workflows.approvals.start(tenant_id, request)

    async def withdraw(tenant_id: str, request_id: str) -> None:
        why = await ports.workflows.approvals.termination_reason(tenant_id, request_id)
        await ports.decisions.withdraw(tenant_id, request_id, why)

    return OpenRows("requests", ports.workflows.approvals.state, start, withdraw)


def _deliveries(ports: RecoveryPorts) -> OpenRows:
    deliveries = ports.workflows.deliveries

    async def start(tenant_id: str, row: DueRow) -> bool:
        return await deliveries.start(tenant_id, row.row_id, row.label)

    async def stop(tenant_id: str, delivery_id: str) -> None:
        await settle_delivery(ports.store, tenant_id, delivery_id, ports.clock())

    return OpenRows("deliveries", deliveries.state, start, stop)


def _late_acts(ports: RecoveryPorts) -> Mapping[str, Sweep]:
    """Builds the sweeps that cancel and tell runs where whoever asked for it crashed between commit and signal."""
    runs = ports.workflows.runs

    async def cancel(tenant_id: str, row: DueRow) -> bool:
        state = await runs.state(tenant_id, row.row_id)
        if state is WorkflowState.CLOSED:
            # Temporal accepts the cancellation of a workflow that has ended, and nothing follows.
            await settle(ports.lifecycle, tenant_id, row.row_id)
            return True
        if state is WorkflowState.ABSENT:
            # A workflow must exist to close the row.
            await runs.start(await ports.run_cache.get(tenant_id, row.row_id))
        with suppress(Missing):
            await runs.cancel(tenant_id, row.row_id)
        return True

    async def tell(tenant_id: str, row: DueRow) -> bool:
        return await tell_late(ports.store, runs, ports.clock, tenant_id, row.row_id)

    return {**_due(ports, DueKind.RUN_CANCELLATION, cancel), **_due(ports, DueKind.MESSAGE, tell)}


def _deletions(ports: RecoveryPorts) -> Mapping[str, Sweep]:
    """Builds the sweeps that start deletions of tenants, and have those go on whose workflow was terminated."""
    start = ports.workflows.tenants.start_deletion

    async def start_late() -> None:
        await start_late_deletions(ports.store, ports.clock() - LATE, start)

    async def go_on() -> None:
        await start_late_deletions(ports.store, ports.clock() - LATE, start, begun=True)

    return {"deletions.start": Sweep(SWEEP_SECONDS, start_late), "deletions.check": Sweep(DELETION_SECONDS, go_on)}


def _due(ports: RecoveryPorts, kind: DueKind, look: Look) -> Mapping[str, Sweep]:
    sweep = DueSweep(ports.store, kind, look, clock=ports.clock)
    return {kind: Sweep(SWEEP_SECONDS, partial(sweep.sweep, LATE))}
