"""Activities of the `TenantDeletion` workflow."""

from temporalio import activity

from models.messages.deletions import DeletionPlan, DeletionRef, EndedRuns, ErasedRows, ForgottenHistories
from taskforce.application.tenants.deletion import Erasing


class DeletionActivities:
    """The phases of a deletion; each is done again from the beginning when its worker dies, and goes on where it was.

    Args:
        erasing: The use cases.
    """

    def __init__(self, erasing: Erasing) -> None:
        self._erasing = erasing

    @activity.defn(name="begin_deletion")
    async def begin_deletion(self, ref: DeletionRef) -> DeletionPlan:
        """Notes that the workflow has begun."""
        order = (await self._erasing.begin(ref.tenant_id)).order
        if order.runs_until is None:
            return DeletionPlan(requested_by=order.requested_by)
        return DeletionPlan(requested_by=order.requested_by, runs_until=order.runs_until)

    @activity.defn(name="end_tenant_runs")
    async def end_tenant_runs(self, ref: DeletionRef) -> EndedRuns:
        """Waits for the runs to end, and cancels those whose time is over."""
        return EndedRuns(runs=await self._erasing.end_runs(ref.tenant_id))

    @activity.defn(name="erase_tenant")
    async def erase_tenant(self, ref: DeletionRef) -> ErasedRows:
        """Erases what may go now."""
        erased = await self._erasing.erase(ref.tenant_id)
        if erased.log_kept_until is None:
            return ErasedRows(rows=erased.rows)
        return ErasedRows(rows=erased.rows, log_kept_until=erased.log_kept_until)

    @activity.defn(name="forget_tenant_histories")
    async def forget_tenant_histories(self, ref: DeletionRef) -> ForgottenHistories:
        """Deletes the histories of the tenant's workflows."""
        forgotten = await self._erasing.forget(ref.tenant_id)
        return ForgottenHistories(deleted=forgotten.deleted, left=forgotten.left)

    @activity.defn(name="verify_deletion")
    async def verify_deletion(self, ref: DeletionRef) -> None:
        """Makes sure that nothing is left, and closes the report."""
        await self._erasing.verify(ref.tenant_id)
