"""The Temporal client of runs."""

from datetime import datetime

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from models.messages.runs import RunInput, RunPlan, RunProgress
from taskforce.core.domain.gen_ai import agent_invoked
from taskforce.core.domain.runs.run import RunSpec, run_of, workflow_id
from taskforce.core.interfaces.workflows import Ended, RunWorkflows, WorkflowState
from workflows.agent_run import AgentRun
from workflows.client.errors import mapped
from workflows.client.executions import RPC_TIME, WorkflowExecutions
from workflows.runtime import search_attributes


class RunClient(RunWorkflows):
    """Starts, signals, cancels and queries the workflows of runs.

    Args:
        executions: The workflow executions.
    """

    def __init__(self, executions: WorkflowExecutions) -> None:
        self._executions = executions

    async def start(self, spec: RunSpec) -> bool:
        """Starts the workflow of a committed run; idempotent."""
        about = {search_attributes.AGENT: spec.agent.agent_id, search_attributes.USER: spec.user_id}
        with self._executions.tracer.span(agent_invoked(spec)):
            return await self._executions.start(
                AgentRun.run,
                RunInput(tenant_id=spec.tenant_id, run_id=spec.run_id, plan=RunPlan.of(spec)),
                workflow_id=workflow_id(spec.tenant_id, spec.run_id),
                attributes={search_attributes.TENANT: spec.tenant_id, **about},
                summary=f"{spec.agent.label} for {spec.user_id}",
                noun="run",
            )

    async def cancel(self, tenant_id: str, run_id: str) -> None:
        """Requests a run's cancellation, which reaches its model call and its tools."""
        try:
            await self._handle(tenant_id, run_id).cancel(rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "run") from error

    async def terminate(self, tenant_id: str, run_id: str) -> None:
        """Terminates a run's workflow, which closes neither its row nor its requests."""
        try:
            await self._handle(tenant_id, run_id).terminate(rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "run") from error

    async def signal(self, tenant_id: str, run_id: str, signal: str, *arguments: str) -> None:
        """Sends `pause`, `resume`, `add_word` or `limits_raised` to a run."""
        try:
            await self._handle(tenant_id, run_id).signal(signal, args=list(arguments), rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "run") from error

    async def progress(self, tenant_id: str, run_id: str) -> RunProgress:
        """Queries a run's progress; needs a running worker.

        Raises:
            Missing: The run has no workflow.
            Unavailable: Temporal does not answer.
        """
        try:
            return await self._handle(tenant_id, run_id).query(AgentRun.progress, rpc_timeout=RPC_TIME)
        except RPCError as error:
            raise mapped(error, "run") from error

    async def state(self, tenant_id: str, run_id: str) -> WorkflowState:
        """Returns what has become of a run's workflow."""
        return await self._executions.state(workflow_id(tenant_id, run_id))

    async def ended_from_outside(self, since: datetime) -> Ended:
        """Lists runs whose workflow was terminated after a time."""
        return [one for one in map(run_of, await self._executions.ended("AgentRun", since)) if one is not None]

    def _handle(self, tenant_id: str, run_id: str) -> WorkflowHandle[AgentRun, str]:
        return self._executions.handle(AgentRun.run, workflow_id(tenant_id, run_id))
