"""The Temporal client of tenant deletions and of the histories that they delete."""

from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError

from models.messages.deletions import DeletionRef
from taskforce.core.domain.tenants.deletion import workflow_id
from taskforce.core.interfaces.workflows import Forgotten, TenantWorkflows
from workflows.client import history_deletion
from workflows.client.errors import mapped
from workflows.client.executions import WorkflowExecutions
from workflows.runtime import search_attributes
from workflows.tenant_deletion import TenantDeletion


class TenantClient(TenantWorkflows):
    """Starts the deletion of tenants, and deletes their workflow histories.

    Args:
        executions: The workflow executions.
    """

    def __init__(self, executions: WorkflowExecutions) -> None:
        self._executions = executions

    async def start_deletion(self, tenant_id: str) -> None:
        """Starts the deletion of a tenant, or continues one whose workflow was terminated; idempotent."""
        await self._executions.start(
            TenantDeletion.run,
            DeletionRef(tenant_id=tenant_id),
            workflow_id=workflow_id(tenant_id),
            attributes={search_attributes.TENANT: tenant_id},
            summary=f"Deletes the tenant {tenant_id}",
            noun="deletion",
            reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )

    async def forget(self, tenant_id: str) -> Forgotten:
        """Deletes the executions of a tenant, as far as the server permits; see `history_deletion`."""
        try:
            return await history_deletion.forget_tenant(self._executions.client, tenant_id)
        except RPCError as error:
            raise mapped(error, "tenant") from error
