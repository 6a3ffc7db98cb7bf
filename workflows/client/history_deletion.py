"""Deletes a tenant's workflow executions with their histories, and terminates open ones."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from taskforce.core.interfaces.workflows import Forgotten
from workflows.runtime.search_attributes import TENANT

RPC_TIME = timedelta(seconds=10)
DELETION = "TenantDeletion"
LOOKS = 30
LOOK_SECONDS = 0.5
PATIENT_LOOKS = 4
"""Number of polls in which open executions are left to close by themselves."""
ENDED = "Its tenant is deleted."

_Execution = tuple[str, str]


async def forget_tenant(client: Client, tenant_id: str) -> Forgotten:
    """Requests the deletion of a tenant's executions, and waits a little for open ones to close.

    What does not close by itself, such as a request that no run waits for or a delivery between two attempts, is
    terminated: its rows are gone. The server takes about a minute to delete, and lists executions until then: an
        accepted
    deletion counts as done.

    Args:
        client: A connected client.
        tenant_id: The tenant; its runs have ended.

    Raises:
        RPCError: Temporal does not answer.
    """
    deleted: set[_Execution] = set()
    refused: set[_Execution] = set()
    ended: set[_Execution] = set()
    still_open = 0
    for look in range(LOOKS):
        still_open = 0
        async for execution, closed in _listed(client, tenant_id):
            still_open += not closed
            if not closed and look >= PATIENT_LOOKS and execution not in ended:
                await _end(client, execution)
                ended.add(execution)
            if closed and execution not in deleted | refused:
                (deleted if await _delete(client, execution) else refused).add(execution)
        if not still_open:
            break
        await asyncio.sleep(LOOK_SECONDS)
    return Forgotten(len(deleted), len(refused) + still_open)


async def _listed(client: Client, tenant_id: str) -> AsyncIterator[tuple[_Execution, bool]]:
    # A tenant id holds neither quotes nor backslashes, so it cannot break out of the query.
    query = f"{TENANT.name} = '{tenant_id}' AND WorkflowType != '{DELETION}'"
    async for one in client.list_workflows(query, rpc_timeout=RPC_TIME):
        yield (one.id, one.run_id), one.status is not WorkflowExecutionStatus.RUNNING


async def _end(client: Client, execution: _Execution) -> None:
    """Terminates an execution, unless it has closed meanwhile or permission is denied."""
    workflow_id, run_id = execution
    try:
        await client.get_workflow_handle(workflow_id, run_id=run_id).terminate(reason=ENDED, rpc_timeout=RPC_TIME)
    except RPCError as error:
        if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.PERMISSION_DENIED}:
            raise


async def _delete(client: Client, execution: _Execution) -> bool:
    """Deletes an execution; False when permission is denied or the server does not implement it."""
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
