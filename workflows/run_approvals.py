"""The approvals that a run waits for, each a workflow of its own."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ChildWorkflowError, TerminatedError

from workflows.approval import ApprovalWorkflow
from workflows.run_waits import RunWaits
from workflows.runtime.activity_calls import last_failure
from workflows.runtime.markdown import summary
from workflows.runtime.search_attributes import AGENT, APPROVAL_TYPE, TENANT, USER

with workflow.unsafe.imports_passed_through():
    from temporalio.common import SearchAttributePair, TypedSearchAttributes

    from models.messages.approvals import ApprovalInput, CloseRequest
    from models.messages.runs import RunPlan
    from taskforce.core.domain.approvals.approval import workflow_id as approval_workflow_id


class RunApprovals:
    """Asks people, and waits until they have decided.

    Args:
        waits: The run's waits.
    """

    def __init__(self, waits: RunWaits) -> None:
        self._waits = waits

    async def decided(self, asked: ApprovalInput, plan: RunPlan, what: str, request_type: str = "tool_call") -> bool:
        """Opens a request and waits for its end.

        Args:
            asked: The request.
            plan: The run's plan.
            what: What is asked for, for the Temporal UI.
            request_type: The type of the request.

        Returns:
            Whether it is approved, and what follows is done.
        """
        try:
            outcome = await workflow.execute_child_workflow(
                ApprovalWorkflow.run,
                asked,
                id=approval_workflow_id(asked.tenant_id, asked.request_id),
                # Cancelled rather than terminated with its run, so that the request closes its own row.
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                search_attributes=_attributes(asked.tenant_id, plan, request_type),
                static_summary=summary(f"{what}, asked by {plan.user_id}"),
            )
            return outcome.status == "approved"
        except ChildWorkflowError as error:
            if workflow.cancellation_reason() is not None:
                raise asyncio.CancelledError from error
            # An operator terminated the approval's own workflow, or it failed: that counts as not approved.
            await self._waits.run_row("close_request", _withdrawn(asked, error))
            return False


def _withdrawn(asked: ApprovalInput, error: ChildWorkflowError) -> CloseRequest:
    ended = isinstance(error.cause, TerminatedError)
    why = "an operator ended the request" if ended else f"the request failed: {last_failure(error)[1]}"
    return CloseRequest(tenant_id=asked.tenant_id, request_id=asked.request_id, status="withdrawn", reason=why)


def _attributes(tenant_id: str, plan: RunPlan, request_type: str) -> TypedSearchAttributes:
    values = {TENANT: tenant_id, AGENT: plan.agent_id, USER: plan.user_id, APPROVAL_TYPE: request_type}
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in values.items()])
