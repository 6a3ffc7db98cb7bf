"""The workflow of a tenant's deletion: ends its runs, erases its rows, the audit log last, and keeps a report."""

from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow

from workflows.runtime.activity_calls import run_regular
from workflows.runtime.markdown import escaped
from workflows.runtime.search_attributes import STATUS, WAITING_FOR, value

with workflow.unsafe.imports_passed_through():
    from models.messages.deletions import DeletionPlan, DeletionRef, EndedRuns, ErasedRows, ForgottenHistories
    from taskforce.core.domain.tenants.deletion import LONGEST_DRAIN, DeletionStatus

Result = TypeVar("Result")

PHASE_TIME = LONGEST_DRAIN + timedelta(days=1)
"""Timeout of an activity; one that is cut off is retried and continues where it was."""
RUNS, LOG = "its runs to end", "the time that the audit log is kept"


@workflow.defn(name="TenantDeletion")
class TenantDeletion:
    """The deletion of a tenant; after an interruption, a new request for it continues where it was."""

    @workflow.init
    def __init__(self, ref: DeletionRef) -> None:
        self._ref = ref
        self._story: list[str] = []

    @workflow.run
    async def run(self, ref: DeletionRef) -> str:
        """Deletes the tenant; returns the final status of the report."""
        await self._end_runs()
        erased = await self._erase()
        await self._forget_histories()
        while erased.log_kept_until is not None:
            await self._wait_until(erased.log_kept_until)
            erased = await self._erase()
        await self._do("verify_deletion")
        self._tell("nothing of it is left; the report is closed")
        return DeletionStatus.DONE.value

    async def _end_runs(self) -> None:
        plan = await self._do("begin_deletion", DeletionPlan)
        self._tell(f"asked for by {plan.requested_by}")
        until = plan.runs_until
        self._tell("cancelling its runs" if until is None else f"its runs have time until {_minute(until)}")
        self._mark(RUNS)
        ended = await self._do("end_tenant_runs", EndedRuns)
        self._mark(None)
        self._tell(f"runs that have ended since: {ended.runs}")

    async def _erase(self) -> ErasedRows:
        erased = await self._do("erase_tenant", ErasedRows)
        self._tell(f"{erased.rows} rows are erased")
        return erased

    async def _forget_histories(self) -> None:
        forgotten = await self._do("forget_tenant_histories", ForgottenHistories)
        self._tell(f"{forgotten.deleted} workflow executions are deleted, {forgotten.left} are left to the retention")

    async def _wait_until(self, time: datetime) -> None:
        self._tell(f"the audit log is kept until {_minute(time)}")
        self._mark(LOG)
        # The database's clock decides whether the log may go, and may be behind Temporal's.
        left = max(time - workflow.now(), timedelta()) + timedelta(seconds=1)
        await workflow.sleep(left, summary="the audit log is kept")
        self._mark(None)

    async def _do(self, activity: str, result: type[Result] | None = None) -> Result:
        return await run_regular(activity, self._ref, result, time=PHASE_TIME)

    def _mark(self, waiting_for: str | None) -> None:
        status = None if waiting_for is None else "waiting"
        workflow.upsert_search_attributes([value(STATUS, status), value(WAITING_FOR, waiting_for)])

    def _tell(self, line: str) -> None:
        self._story.append(line)
        lines = "\n".join(f"- {escaped(one)}" for one in self._story)
        workflow.set_current_details(f"**Deleting {escaped(self._ref.tenant_id)}**\n\n{lines}")


def _minute(time: datetime) -> str:
    return time.isoformat(timespec="minutes")
