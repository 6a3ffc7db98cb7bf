"""From begin to end of a run: what its row and its milestones say."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from taskforce.application.kept import Kept
from taskforce.application.lines import COMPLETED, STARTED, names_of
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs import Brief, Ending, Run, RunStatus
from taskforce.core.domain.transcript import Entry
from taskforce.core.interfaces.records import Clock, Live, Platform, Records, Store
from taskforce.core.interfaces.stored import AuditEvent, Request

_log = structlog.get_logger(__name__)

UNSTARTED_BATCH = 200


class Briefs:
    """The briefs of the runs that this process works on; they never change, so they may be kept.

    Args:
        store: Where they come from.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: Kept[tuple[str, str], Brief] = Kept()

    async def get(self, tenant_id: str, run_id: str) -> Brief:
        """The brief of a run.

        Raises:
            Missing: `run_not_found`.
        """
        kept = self._kept.get((tenant_id, run_id))
        if kept is None:
            async with self._store.tenant(tenant_id) as records:
                kept = await self.read(records, tenant_id, run_id)
        return kept

    async def read(self, records: Records, tenant_id: str, run_id: str) -> Brief:
        """The brief of a run, within a transaction that is open already."""
        brief = self._kept.get((tenant_id, run_id)) or await records.runs.brief(run_id)
        if brief is None:
            raise missing("run")
        self._kept.keep((tenant_id, run_id), brief, brief.size())
        return brief


class Replies:
    """The model's replies of the steps that this process works on; they never change, so they may be kept.

    Args:
        store: Where they come from.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: Kept[tuple[str, str, int], Entry] = Kept()

    def keep(self, tenant_id: str, run_id: str, reply: Entry) -> None:
        """Keeps a reply that is committed."""
        self._kept.keep((tenant_id, run_id, reply.step), reply, reply.size())

    async def get(self, tenant_id: str, run_id: str, step: int) -> Entry:
        """The reply of a step.

        Raises:
            Missing: `step_not_found`.
        """
        kept = self._kept.get((tenant_id, run_id, step))
        if kept is None:
            async with self._store.tenant(tenant_id) as records:
                kept = await records.transcripts.entry(run_id, step, 0)
            if kept is None:
                raise missing("step")
            self.keep(tenant_id, run_id, kept)
        return kept


class Running:
    """The use cases that steer a run's row.

    Args:
        store: The tenants' data.
        live: Who watches.
        clock: The time.
    """

    def __init__(self, store: Store, briefs: Briefs, live: Live, clock: Clock) -> None:
        self._store = store
        self._briefs = briefs
        self._live = live
        self._clock = clock

    async def begin(self, tenant_id: str, run_id: str) -> Brief:
        """Marks the run as running; a second begin changes nothing."""
        now = self._clock()
        async with self._store.tenant(tenant_id) as records:
            brief = await self._briefs.read(records, tenant_id, run_id)
            if await records.runs.begin(run_id, now):
                await records.events.append(run_id, "run.started", {}, now)
        self._live.changed(tenant_id, run_id)
        _log.info(STARTED, **names_of(brief))
        return brief

    async def note(self, tenant_id: str, run_id: str, status: RunStatus, waiting_for: str | None) -> None:
        """Records that the run waits, is paused, or goes on."""
        now = self._clock()
        async with self._store.tenant(tenant_id) as records:
            if await records.runs.set_status(run_id, status, waiting_for):
                await records.events.append(run_id, f"run.{status.value}", {"waiting_for": waiting_for}, now)
        self._live.changed(tenant_id, run_id)

    async def total(self, tenant_id: str, run_id: str) -> None:
        """Closes the totals of a part of the run."""
        async with self._store.tenant(tenant_id) as records:
            await records.runs.total(run_id)

    async def end(self, tenant_id: str, run_id: str, ending: Ending) -> None:
        """Ends the run: totals, answer, milestone and audit in one transaction; a second end changes nothing."""
        now = self._clock()
        told: dict[str, object] = {}
        async with self._store.tenant(tenant_id) as records:
            answer = await _answer(records, run_id, ending)
            if await records.runs.close(run_id, ending, answer, now):
                totals = await records.runs.total(run_id)
                tokens = totals.input_tokens + totals.output_tokens
                data = {"status": ending.status.value, "error_code": ending.error_code, "tokens": tokens}
                await records.events.append(run_id, "run.finished", data, now)
                brief = await self._briefs.read(records, tenant_id, run_id)
                await records.audit.append(_ended(brief, ending, now))
                told = {
                    **names_of(brief),
                    "total_steps": totals.steps,
                    "tokens_used": tokens,
                    "status": ending.status.value,
                }
                told["duration_seconds"] = round((now - brief.created_at).total_seconds(), 3)
        self._live.changed(tenant_id, run_id)
        if told:
            _log.info(COMPLETED, success=ending.status is RunStatus.COMPLETED, **told)


async def _answer(records: Records, run_id: str, ending: Ending) -> str | None:
    # A limit that struck in the middle leaves the last thought as the best answer there is.
    if ending.status not in {RunStatus.COMPLETED, RunStatus.INCOMPLETE}:
        return None
    reply = await records.transcripts.last_reply(run_id)
    return reply.text if reply is not None else ""


def _ended(brief: Brief, ending: Ending, now: datetime) -> AuditEvent:
    return AuditEvent(
        actor_id=f"agent:{brief.agent.agent_id}",
        on_behalf_of=brief.user_id,
        action="run.end",
        resource_type="run",
        resource_id=brief.run_id,
        outcome=ending.status.value,
        reason=ending.error_code or ending.stop_reason,
        channel="worker",
        at=now,
    )


async def require_run(store: Store, tenant_id: str, run_id: str) -> Run:
    """The run as its row tells it.

    Raises:
        Missing: `run_not_found`.
    """
    async with store.tenant(tenant_id) as records:
        run = await records.runs.get(run_id)
    if run is None:
        raise missing("run")
    return run


class StartRun(Protocol):
    """Starts the workflow of a committed run; starting it again is harmless."""

    def __call__(self, tenant_id: str, run_id: str) -> Awaitable[None]:
        """Starts it by its ids."""
        ...


async def sweep(platform: Platform, before: datetime, start: StartRun) -> int:
    """Starts what a crash between commit and start has left behind.

    Args:
        platform: The door that sees the unstarted runs of all tenants.
        before: Runs committed before this time are late.
        start: Starts one.

    Returns:
        How many were started.

    Raises:
        DomainError: What kept the last of those that could not be started; the others are started all the same.
    """
    started, refused = 0, None
    for tenant_id, run_id in await platform.unstarted_runs(before, UNSTARTED_BATCH):
        try:
            await start(tenant_id, run_id)
            started += 1
        except DomainError as error:
            # One run that cannot be started must not keep the others waiting.
            refused = error
    if refused is not None:
        raise refused
    return started


class StartRequest(Protocol):
    """Starts the workflow of a filed request; starting it again is harmless."""

    def __call__(self, tenant_id: str, request: Request) -> Awaitable[None]:
        """Starts it."""
        ...


async def sweep_requests(platform: Platform, store: Store, before: datetime, start: StartRequest) -> int:
    """Starts requests that a crash between commit and start has left behind.

    Args:
        platform: The door that sees the requests of all tenants that have no workflow.
        store: The door to the tenants' data.
        before: Requests committed before this time are late.
        start: Starts one.

    Returns:
        How many were started.

    Raises:
        DomainError: What kept the last of those that could not be started; the others are started all the same.
    """
    started, refused = 0, None
    for tenant_id, request_id in await platform.unbegun_requests(before, UNSTARTED_BATCH):
        try:
            async with store.tenant(tenant_id) as records:
                request = await records.requests.get(request_id)
            if request is not None:
                await start(tenant_id, request)
                started += 1
        except DomainError as error:
            refused = error
    if refused is not None:
        raise refused
    return started


async def settle(running: Running, ended: Sequence[tuple[str, str]]) -> None:
    """Ends the rows of runs whose workflow was terminated by an operator; a row that has ended stays as it is."""
    ending = Ending(
        RunStatus.FAILED, error_code="run_terminated", error_message="An operator terminated the run's workflow."
    )
    for tenant_id, run_id in ended:
        await running.end(tenant_id, run_id, ending)


async def repeat(
    every_seconds: float, work: Callable[[], Awaitable[object]], failed: Callable[[Exception], None]
) -> None:
    """Does something again and again, until it is cancelled; a failure is reported and does not end it."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a sweeper outlives whatever befalls one sweep
            failed(error)
        await asyncio.sleep(every_seconds)
