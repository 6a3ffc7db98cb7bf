"""Recovery: periodic sweeps that complete what a crash, an outage or an operator has left incomplete."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog

from taskforce.application.approvals.decisions import ApprovalDecisions, found
from taskforce.application.approvals.results import erase_all_old_results
from taskforce.application.audit.retention import drop_all_expired
from taskforce.application.audit.sealing import seal_all
from taskforce.application.runs.lifecycle import RunLifecycle, settle
from taskforce.application.runs.message_signals import tell_late
from taskforce.application.runs.retention import erase_all_expired
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.sweep_leases import Sweep, SweepLeader
from taskforce.application.sweeps import OrphanSweep
from taskforce.application.tenants.deletion_requests import start_late_deletions
from taskforce.application.webhooks.delivery_log import settle_deliveries
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Orphans, Platform, Store, UnsealedLogs
from taskforce.core.interfaces.sweep_leases import SweepLeases
from taskforce.core.interfaces.workflows import ApprovalWorkflows, DeliveryWorkflows, RunWorkflows, TenantWorkflows

SWEEP_SECONDS = 5.0
SEAL_SECONDS = 10.0
ERASE_SECONDS = 3_600.0
# The gateway starts what it has committed itself; only what is older than this counts as left behind.
LATE = timedelta(seconds=5)
LOOK_BACK = timedelta(hours=24)

Work = Callable[[], Awaitable[object]]

_log = structlog.get_logger(__name__)


class RecoveryStore(Store, Platform, Orphans, UnsealedLogs, SweepLeases, Protocol):
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
    """

    store: RecoveryStore
    workflows: Workflows
    run_cache: RunCache
    lifecycle: RunLifecycle
    decisions: ApprovalDecisions
    clock: Clock
    audit_days: int | None = None


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
    often: dict[str, Work] = {
        **_late_starts(ports),
        "runs.cancel": _late_cancellations(ports),
        "messages.tell": _late_messages(ports),
        **_terminated(ports),
    }
    hourly: dict[str, Work] = {
        "audit.drop": lambda: drop_all_expired(store, store, ports.audit_days, clock()),
        "runs.erase": lambda: erase_all_expired(store, store, clock()),
        "results.erase": lambda: erase_all_old_results(store, store, clock()),
    }
    return {
        **{name: Sweep(SWEEP_SECONDS, work) for name, work in often.items()},
        "audit.seal": Sweep(SEAL_SECONDS, lambda: seal_all(store, store, clock)),
        **{name: Sweep(ERASE_SECONDS, work) for name, work in hourly.items()},
    }


def _late_starts(ports: RecoveryPorts) -> Mapping[str, Work]:
    """Builds the sweeps that start workflows whose process crashed between commit and start."""
    store, workflows, clock = ports.store, ports.workflows, ports.clock

    async def start_run(tenant_id: str, run_id: str) -> bool:
        # Safe beside the gateway's own start: the workflow id is unique, and a second start is refused.
        return await workflows.runs.start(await ports.run_cache.get(tenant_id, run_id))

    async def start_request(tenant_id: str, request_id: str) -> bool:
        async with store.tenant(tenant_id) as records:
            request = await found(records, request_id)
        return await workflows.approvals.start(tenant_id, request)

    runs = OrphanSweep(store.unstarted_runs, start_run)
    requests = OrphanSweep(store.unstarted_requests, start_request)

    async def start_runs() -> None:
        started = await runs.sweep(clock() - LATE)
        if started:
            _log.info("runs.swept", started=started)

    async def start_requests() -> None:
        started = await requests.sweep(clock() - LATE)
        if started:
            _log.info("requests.swept", started=started)

    async def start_deletions() -> None:
        await start_late_deletions(store, clock() - LATE, workflows.tenants.start_deletion)

    return {"runs.start": start_runs, "requests.start": start_requests, "deletions.start": start_deletions}


def _late_cancellations(ports: RecoveryPorts) -> Work:
    """Builds the sweep that cancels runs whose requester crashed between commit and cancellation."""
    runs = ports.workflows.runs

    async def cancel(tenant_id: str, run_id: str) -> bool:
        try:
            await runs.cancel(tenant_id, run_id)
        except Missing:
            # Not started yet: a workflow must exist to close the row. Terminated ones are settled by another sweep.
            await runs.start(await ports.run_cache.get(tenant_id, run_id))
            with suppress(Missing):
                await runs.cancel(tenant_id, run_id)
        return True

    late = OrphanSweep(ports.store.runs_to_cancel, cancel)

    async def cancel_runs() -> None:
        cancelled = await late.sweep(ports.clock() - LATE)
        if cancelled:
            _log.info("runs.cancelled", asked=cancelled)

    return cancel_runs


def _late_messages(ports: RecoveryPorts) -> Work:
    """Builds the sweep that tells runs of messages whose sender crashed between commit and signal."""
    store, clock = ports.store, ports.clock
    late = OrphanSweep(store.untold_messages, partial(tell_late, store, ports.workflows.runs, clock))

    async def tell_runs() -> None:
        told = await late.sweep(clock() - LATE)
        if told:
            _log.info("messages.swept", told=told)

    return tell_runs


def _terminated(ports: RecoveryPorts) -> Mapping[str, Work]:
    """Builds the sweeps that close rows whose workflow was terminated and cannot close them itself."""
    store, workflows, clock = ports.store, ports.workflows, ports.clock
    # A terminated workflow is listed at each sweep for a day; its row needs closing once.
    settled: set[tuple[str, str]] = set()

    async def settle_runs() -> None:
        ended = set(await workflows.runs.ended_from_outside(clock() - LOOK_BACK)) - settled
        await settle(ports.lifecycle, sorted(ended))
        settled.update(ended)

    async def withdraw_requests() -> None:
        for tenant_id, request_id in set(await workflows.approvals.ended_from_outside(clock() - LOOK_BACK)) - settled:
            await ports.decisions.withdraw(tenant_id, request_id, "an operator ended the request")
            settled.add((tenant_id, request_id))

    async def stop_deliveries() -> None:
        ended = set(await workflows.deliveries.ended_from_outside(clock() - LOOK_BACK)) - settled
        await settle_deliveries(store, sorted(ended), clock())
        settled.update(ended)

    return {"runs.settle": settle_runs, "requests.settle": withdraw_requests, "deliveries.settle": stop_deliveries}
