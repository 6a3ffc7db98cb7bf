"""Carries what people do to runs through the door, whatever state the run's workflow is in."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from api.composition import GatewayContext
from taskforce.application.runs.lifecycle import require_run
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Conflict, Missing, Unavailable
from taskforce.core.domain.runs.run import Ending, Run, RunSpec, RunStatus

AT_A_TIME = 20
MOST_AT_ONCE = 500
"""Runs that a caller waits for; the others are asked within seconds."""
Outcome = TypeVar("Outcome")

_log = structlog.get_logger(__name__)


async def start(context: GatewayContext, brief: RunSpec) -> None:
    """Starts a committed run; when Temporal does not answer, the sweeper starts it later."""
    try:
        await context.workflow_client.runs.start(brief)
    except Unavailable:
        return


async def start_request(context: GatewayContext, tenant_id: str, request: Request) -> None:
    """Starts the workflow of a filed request; when Temporal does not answer, the sweeper starts it later."""
    try:
        await context.workflow_client.approvals.start(tenant_id, request)
    except Unavailable:
        return


async def reach(act: Callable[[], Awaitable[Outcome]], begin: Callable[[], Awaitable[None]]) -> Outcome:
    """Reaches a workflow, starting it first if that has not happened yet.

    Args:
        act: What is done to it.
        begin: Starts it; raises why not, where it has ended.

    Raises:
        Missing: Its workflow was ended from outside.
        DomainError: What the two raise.
    """
    try:
        return await act()
    except Missing:
        await begin()
        return await act()


async def steer(context: GatewayContext, run: Run, act: Callable[[], Awaitable[None]]) -> None:
    """Reaches the run's workflow, starting it first if that has not happened yet.

    Raises:
        Conflict: `run_finished`: it ended meanwhile.
        Unavailable: Temporal does not answer.
        Missing: `run_not_found`: its workflow was ended from outside; only `cancel` makes sense then.
    """

    async def begin() -> None:
        current = await require_run(context.database, run.brief.tenant_id, run.brief.run_id)
        current.require_open()
        await context.workflow_client.runs.start(run.brief)

    await reach(act, begin)


async def cancel(context: GatewayContext, run: Run) -> None:
    """Asks a run to end. One whose workflow was ended from outside is ended here, for nobody else is left to do it.

    Raises:
        Conflict: `run_finished`.
        Unavailable: Temporal does not answer.
    """
    tenant_id, run_id = run.brief.tenant_id, run.brief.run_id
    try:
        await steer(context, run, lambda: context.workflow_client.runs.cancel(tenant_id, run_id))
    except Missing:
        await context.use_cases.lifecycle.end(tenant_id, run_id, Ending(RunStatus.CANCELLED))


async def cancel_all(context: GatewayContext, tenant_id: str, run_ids: Sequence[str]) -> int:
    """Asks runs to end that are noted to be cancelled; one that has ended meanwhile needs nothing more.

    Returns:
        How many were asked. The others, where Temporal does not answer or there are too many, a sweeper asks.
    """
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(run_id: str) -> bool:
        async with room:
            try:
                await cancel(context, await require_run(context.database, tenant_id, run_id))
            except (Conflict, Missing):
                return False
            except Unavailable as error:
                _log.warning("run.not_cancelled", run_id=run_id, code=error.code)
                return False
        return True

    return sum(await asyncio.gather(*map(one, run_ids[:MOST_AT_ONCE])))
