"""Temporal Schedules of the product, which workers ensure at their start."""

from datetime import timedelta

import structlog
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError, RPCStatusCode

from models.messages.metering import RollupOrder
from workflows.client.errors import mapped
from workflows.client.executions import RPC_TIME, WorkflowExecutions
from workflows.runtime.markdown import summary
from workflows.usage_rollup import UsageRollup

EVERY = timedelta(hours=1)
OFFSET = timedelta(minutes=5)
"""Minutes after the full hour, so that most of the hour's records are there."""
# A rollup takes all that is left, so that after an outage one of those that were missed is enough.
CATCH_UP = EVERY
_FORBIDDEN = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})

_log = structlog.get_logger(__name__)


class ScheduleClient:
    """The client of the product's schedules, one of each for a task queue.

    Args:
        executions: The client of workflow executions.
    """

    def __init__(self, executions: WorkflowExecutions) -> None:
        self._executions = executions

    @property
    def usage_rollup_id(self) -> str:
        """Returns the id of the schedule of rollups, which is that of its workflows, too."""
        return f"usage-rollup:{self._executions.task_queue}"

    async def ensure_usage_rollup(self) -> bool:
        """Creates the schedule of rollups; one that exists stays as operators may have changed it.

        Without the right to do so, the worker goes on: aggregations stay exact, and become slower. The log says which
        command creates it.

        Returns:
            Whether it was created.

        Raises:
            Unavailable: `temporal_unavailable`.
        """
        try:
            await self._executions.client.create_schedule(self.usage_rollup_id, self._schedule(), rpc_timeout=RPC_TIME)
        except ScheduleAlreadyRunningError:
            return False
        except RPCError as error:
            if error.status not in _FORBIDDEN:
                raise mapped(error, "schedule") from error
            if not await self._exists():
                _log.error("schedule.missing", schedule=self.usage_rollup_id, command=self._command())
            return False
        return True

    async def _exists(self) -> bool:
        try:
            await self._executions.client.get_schedule_handle(self.usage_rollup_id).describe(rpc_timeout=RPC_TIME)
        except RPCError:
            return False
        return True

    def _schedule(self) -> Schedule:
        return Schedule(
            action=ScheduleActionStartWorkflow(
                UsageRollup.run,
                RollupOrder(),
                id=self.usage_rollup_id,
                task_queue=self._executions.task_queue,
                static_summary=summary("Rolls up the usage of all tenants"),
            ),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY, offset=OFFSET)]),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        )

    def _command(self) -> str:
        hours, minutes = EVERY // timedelta(hours=1), OFFSET // timedelta(minutes=1)
        return (
            f"temporal schedule create --namespace {self._executions.client.namespace} "
            f"--schedule-id '{self.usage_rollup_id}' --workflow-id '{self.usage_rollup_id}' --type UsageRollup "
            f"--task-queue '{self._executions.task_queue}' --input '{{}}' --interval {hours}h/{minutes}m "
            f"--overlap-policy Skip --catchup-window {hours}h"
        )
