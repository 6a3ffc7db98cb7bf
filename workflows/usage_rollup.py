"""The workflow that rolls up the usage of all tenants; a Temporal Schedule starts it every hour."""

from datetime import timedelta

from temporalio import workflow

from workflows.runtime.activity_calls import run_regular

with workflow.unsafe.imports_passed_through():
    from models.messages.metering import MeasuredStorage, Rebuilt, RolledUp, RollupOrder, RollupResult

ATTEMPT_TIME = timedelta(hours=6)
"""Timeout of an activity; one that is cut off is retried and goes on where it was."""


@workflow.defn(name="UsageRollup")
class UsageRollup:
    """A rollup of usage; to start another one at any time does no harm.

    An operator who starts it by hand may order a rebuild instead: `{"rebuild": {"tenant_id": ..., "start": ..., "end":
    ...}}`.
    """

    @workflow.run
    async def run(self, order: RollupOrder) -> RollupResult:
        """Rolls up, or rebuilds; returns what was done."""
        if order.rebuild is not None:
            rebuilt = await run_regular("rebuild_usage", order.rebuild, Rebuilt, time=ATTEMPT_TIME)
            return RollupResult(status="done", rebuilt=rebuilt.records)
        rolled = await run_regular("roll_up_usage", order, RolledUp, time=ATTEMPT_TIME)
        workflow.set_current_details(f"{rolled.records} records are rolled up; storage is measured.")
        stored = await run_regular("measure_storage", order, MeasuredStorage, time=ATTEMPT_TIME)
        workflow.set_current_details(f"{rolled.records} records are rolled up; storage of {stored.tenants} tenants.")
        return RollupResult(
            status="done",
            records=rolled.records,
            batches=rolled.batches,
            failed=rolled.failed,
            storage=stored.tenants,
        )
