"""The protocols of workflows: of runs, requests for approval, deliveries and tenants."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.submissions import DecisionResult, SubmittedDecision
from taskforce.core.domain.runs.run import RunSpec

Ended = Sequence[tuple[str, str]]
"""(tenant id, id) of each whose workflow was terminated, so that it could not close its row itself."""


class WorkflowState(StrEnum):
    """The state of the workflow of a row, as Temporal tells it."""

    ABSENT = "absent"
    OPEN = "open"
    CLOSED = "closed"


class RunSignals(Protocol):
    """Signals to the workflows of runs."""

    async def signal(self, tenant_id: str, run_id: str, signal: str, *arguments: str) -> None:
        """Sends a signal to a run.

        Raises:
            Missing: The run has no workflow.
            Unavailable: Temporal does not answer.
        """
        ...


class RunCancellation(Protocol):
    """Cancellation of runs."""

    async def cancel(self, tenant_id: str, run_id: str) -> None:
        """Requests the cancellation of a run.

        Raises:
            Missing: The run has no workflow.
            Unavailable: Temporal does not answer.
        """
        ...


class RunTermination(RunCancellation, Protocol):
    """Cancellation of runs, and termination of those that do not heed it."""

    async def terminate(self, tenant_id: str, run_id: str) -> None:
        """Ends a run's workflow without its own cleanup; its row stays open.

        Raises:
            Missing: The run has no workflow.
            Unavailable: Temporal does not answer, or permission is denied.
        """
        ...


class RunControl(RunSignals, RunCancellation, Protocol):
    """Signals to runs and their cancellation."""


class WorkerRuns(RunControl, RunTermination, Protocol):
    """Signals to runs, their cancellation and their termination."""


class RunWorkflows(RunControl, Protocol):
    """The workflows of runs."""

    async def start(self, spec: RunSpec) -> bool:
        """Starts the workflow of a committed run; idempotent.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: Temporal does not answer; the sweeper starts the run later.
        """
        ...

    async def state(self, tenant_id: str, run_id: str) -> WorkflowState:
        """Returns what has become of a run's workflow.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...

    async def ended_from_outside(self, since: datetime) -> Ended:
        """Lists runs whose workflow was terminated after a time.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...


class ApprovalWorkflows(Protocol):
    """The workflows of requests for approval."""

    async def start(self, tenant_id: str, request: Request) -> bool:
        """Starts the workflow of a committed request that no run waits for; idempotent.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: Temporal does not answer; the sweeper starts the workflow later.
        """
        ...

    async def decide(
        self, tenant_id: str, request_id: str, decision: SubmittedDecision, update_id: str | None = None
    ) -> DecisionResult:
        """Sends an authenticated decision to its request's workflow; idempotent by the update id.

        Raises:
            Conflict: The request refuses it; the code says why.
            Missing: `request_not_found` when no workflow waits for it, not yet or no longer.
            Unavailable: `decision_pending` when no worker answers in time, `temporal_unavailable`.
        """
        ...

    async def decided(self, tenant_id: str, request_id: str, update_id: str) -> DecisionResult | None:
        """Returns the result of an earlier decision, waiting for it if needed; None when the update id is not known.

        Raises:
            Conflict, Unavailable: As `decide`.
        """
        ...

    async def decided_by(self, tenant_id: str, request_id: str) -> Sequence[str]:
        """Returns the ids of the approvers of all decisions that an open request's workflow has counted.

        Raises:
            Missing, Unavailable: As `decide`.
        """
        ...

    async def change(self, tenant_id: str, request_id: str, change: Change) -> DecisionResult:
        """Sends a withdrawal or a reassignment to its request's workflow.

        Raises:
            DomainError: As `decide`.
        """
        ...

    async def concluded(self, tenant_id: str, request_id: str) -> None:
        """Waits until a decided request's workflow has closed, a few seconds at most.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...

    async def state(self, tenant_id: str, request_id: str) -> WorkflowState:
        """Returns what has become of a request's workflow.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...

    async def ended_from_outside(self, since: datetime) -> Ended:
        """Lists requests whose workflow was terminated after a time.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...

    async def termination_reason(self, tenant_id: str, request_id: str) -> str:
        """Returns why a request that an operator terminated has ended, in the operator's words if there are any.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...


class DeliveryWorkflows(Protocol):
    """The workflows of deliveries to webhooks."""

    async def start(self, tenant_id: str, delivery_id: str, event: str) -> bool:
        """Starts the workflow of a committed delivery; idempotent.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: Temporal does not answer; the delivery is started later.
        """
        ...

    async def state(self, tenant_id: str, delivery_id: str) -> WorkflowState:
        """Returns what has become of a delivery's workflow.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...

    async def ended_from_outside(self, since: datetime) -> Ended:
        """Lists deliveries whose workflow was terminated after a time.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Counts of a tenant's workflow executions after their deletion.

    Attributes:
        deleted: Executions deleted with their histories.
        left: Executions that could not be deleted; the namespace's retention removes them.
    """

    deleted: int
    left: int


class TenantHistories(Protocol):
    """The histories of a tenant's workflows."""

    async def forget(self, tenant_id: str) -> Forgotten:
        """Deletes the tenant's closed executions.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...


class TenantWorkflows(TenantHistories, Protocol):
    """The workflows that delete tenants, and the histories that they delete."""

    async def start_deletion(self, tenant_id: str) -> None:
        """Starts the deletion of a tenant, or continues one whose workflow was terminated; idempotent.

        Raises:
            Unavailable: Temporal does not answer; the sweeper starts it later.
        """
        ...
