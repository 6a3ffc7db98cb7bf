"""Activities of the `TenantDeletion` workflow."""

from temporalio import activity

from models.messages.deletions import DeletionPlan, DeletionRef, EndedRuns, ErasedRows, ForgottenHistories
from taskforce.application.tenants.deletion import TenantErasure


class DeletionActivities:
    """The activities of a deletion, one for each phase; idempotent, and resumed by a retry when a worker dies.

    Args:
        erasure: The use cases of a deletion.
    """

    def __init__(self, erasure: TenantErasure) -> None:
        self._erasure = erasure

    @activity.defn(name="begin_deletion")
    async def begin_deletion(self, ref: DeletionRef) -> DeletionPlan:
        """Records that the deletion has begun, and returns its order."""
        order = (await self._erasure.begin(ref.tenant_id)).order
        if order.runs_until is None:
            return DeletionPlan(requested_by=order.requested_by)
        return DeletionPlan(requested_by=order.requested_by, runs_until=order.runs_until)

    @activity.defn(name="end_tenant_runs")
    async def end_tenant_runs(self, ref: DeletionRef) -> EndedRuns:
        """Waits for the tenant's runs to end, and cancels those beyond the drain time."""
        return EndedRuns(runs=await self._erasure.end_runs(ref.tenant_id))

    @activity.defn(name="erase_tenant")
    async def erase_tenant(self, ref: DeletionRef) -> ErasedRows:
        """Erases the rows that may be erased now."""
        erased = await self._erasure.erase(ref.tenant_id)
        if erased.log_kept_until is None:
            return ErasedRows(rows=erased.rows)
        return ErasedRows(rows=erased.rows, log_kept_until=erased.log_kept_until)

    @activity.defn(name="forget_tenant_histories")
    async def forget_tenant_histories(self, ref: DeletionRef) -> ForgottenHistories:
        """Deletes the histories of the tenant's workflows."""
        forgotten = await self._erasure.forget(ref.tenant_id)
        return ForgottenHistories(deleted=forgotten.deleted, left=forgotten.left)

    @activity.defn(name="verify_deletion")
    async def verify_deletion(self, ref: DeletionRef) -> None:
        """Verifies that no row is left, and closes the report."""
        await self._erasure.verify(ref.tenant_id)
