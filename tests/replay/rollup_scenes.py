"""Every way in which a rollup of usage ends."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from models.messages.metering import Rebuild, RollupOrder
from tests.fixtures.usage import used
from tests.replay.scenes import Stage
from workflows.client.schedules import ScheduleClient
from workflows.usage_rollup import UsageRollup

_START, _END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)


async def _started(stage: Stage, name: str, order: RollupOrder) -> str:
    """Starts a rollup as the schedule does; returns its workflow id."""
    workflow_id = f"{schedule(stage).usage_rollup_id}:{name}"
    queue = stage.missions.workflow_client.task_queue
    await stage.temporal.start_workflow(UsageRollup.run, order, id=workflow_id, task_queue=queue)
    return workflow_id


def schedule(stage: Stage) -> ScheduleClient:
    return stage.missions.workflow_client.schedules


async def rolled_up(stage: Stage) -> str:
    missions = stage.of_tenant("soylent")
    await missions.person("ada", "admin")
    await used(missions.database, missions.tenant_id, _START)
    return await _started(stage, "rolled_up", RollupOrder())


async def rebuilt(stage: Stage) -> str:
    missions = stage.of_tenant("tyrell")
    await missions.person("ada", "admin")
    order = Rebuild(tenant_id=missions.tenant_id, start=_START, end=_END)
    return await _started(stage, "rebuilt", RollupOrder(rebuild=order))


async def refused(stage: Stage) -> str:
    order = Rebuild(tenant_id="tyrell", start=_END, end=_START)
    return await _started(stage, "refused", RollupOrder(rebuild=order))


ROLLUPS: dict[str, Callable[[Stage], Awaitable[str]]] = {
    "rolled_up": rolled_up,
    "rebuilt": rebuilt,
    "refused": refused,
}
"""The scenes by the names of their histories; each returns the workflow's id."""
