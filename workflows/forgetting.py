"""Deletes the closed workflow executions of a tenant, histories and all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from taskforce.core.interfaces.deletion_records import Forgotten
from workflows.attributes import TENANT

RPC_TIME = timedelta(seconds=10)
DELETION = "TenantDeletion"
LOOKS = 30
LOOK_SECONDS = 0.5

_Execution = tuple[str, str]


async def forget_tenant(client: Client, tenant_id: str) -> Forgotten:
    """Deletes what is listed under the tenant, and looks until nothing is, or it has looked often enough.

    What has just closed is listed a little later as such, and what was deleted is listed for a little while.

    Args:
        client: A connected client.
        tenant_id: The tenant; its runs have ended.

    Raises:
        RPCError: Temporal does not answer.
    """
    deleted: set[_Execution] = set()
    left = 0
    for _ in range(LOOKS):
        left = 0
        async for execution, closed in _listed(client, tenant_id):
            left += 1
            if closed and execution not in deleted and await _delete(client, execution):
                deleted.add(execution)
        if not left:
            break
        await asyncio.sleep(LOOK_SECONDS)
    return Forgotten(len(deleted), left)


async def _listed(client: Client, tenant_id: str) -> AsyncIterator[tuple[_Execution, bool]]:
    # A tenant's id holds neither quotes nor backslashes.
    query = f"{TENANT.name} = '{tenant_id}' AND WorkflowType != '{DELETION}'"
    async for one in client.list_workflows(query, rpc_timeout=RPC_TIME):
        yield (one.id, one.run_id), one.status is not WorkflowExecutionStatus.RUNNING


async def _delete(client: Client, execution: _Execution) -> bool:
    """Deletes one; False where this server, or this client, may not."""
    workflow_id, run_id = execution
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    )
    try:
        await client.workflow_service.delete_workflow_execution(request, timeout=RPC_TIME)
    except RPCError as error:
        if error.status in {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED}:
            return False
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    return True
