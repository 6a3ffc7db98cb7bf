"""What use cases ask of workflows: the runs', the requests', the deliveries' and the tenants'."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.submissions import DecisionResult, SubmittedDecision
from taskforce.core.domain.runs.run import RunSpec

Ended = Sequence[tuple[str, str]]
"""(tenant, id) of each whose workflow was terminated, so that it could not end its row itself."""


class RunSignals(Protocol):
    """The way to the workflows of runs that are under way."""

    async def signal(self, tenant_id: str, run_id: str, signal: str, *arguments: str) -> None:
        """Tells a run that something has changed.

        Raises:
            Missing: It has no workflow.
            Unavailable: Temporal does not answer.
        """
        ...


class RunCancellation(Protocol):
    """The way to end the workflows of runs."""

    async def cancel(self, tenant_id: str, run_id: str) -> None:
        """Asks a run to end.

        Raises:
            Missing: It has no workflow.
            Unavailable: Temporal does not answer.
        """
        ...


class RunControl(RunSignals, RunCancellation, Protocol):
    """The way to runs that are under way, to tell them something and to end them."""


class RunWorkflows(RunControl, Protocol):
    """The workflows of runs."""

    async def start(self, brief: RunSpec) -> bool:
        """Starts the workflow of a committed run; starting it again is harmless.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: Temporal does not answer; the sweeper starts the run later.
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
        """Starts the workflow of a committed request that no run waits for; starting it again is harmless.

        Returns:
            False when it was started before.

        Raises:
            Unavailable: Temporal does not answer; the sweeper starts the workflow later.
        """
        ...

    async def decide(
        self, tenant_id: str, request_id: str, decision: SubmittedDecision, update_id: str | None = None
    ) -> DecisionResult:
        """Carries an authenticated decision to its request; one that is known by the update's id is not made again.

        Raises:
            Conflict: The request refuses it; the code says why.
            Missing: `request_not_found`: no workflow waits for it, not yet or not any more.
            Unavailable: `decision_pending` when no worker answers in time, `temporal_unavailable`.
        """
        ...

    async def decided(self, tenant_id: str, request_id: str, update_id: str) -> DecisionResult | None:
        """Reads what a decision has brought, waiting for it if need be; None where no such one is known any more.

        Raises:
            Conflict, Unavailable: As `decide`.
        """
        ...

    async def change(self, tenant_id: str, request_id: str, change: Change) -> DecisionResult:
        """Carries a withdrawal or a reassignment to its request.

        Raises:
            DomainError: As `decide`.
        """
        ...

    async def concluded(self, tenant_id: str, request_id: str) -> None:
        """Waits, a few seconds at most, until what follows a decided request is done.

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


class DeliveryWorkflows(Protocol):
    """The workflows of deliveries to webhooks."""

    async def start(self, tenant_id: str, delivery_id: str, event: str) -> None:
        """Starts the workflow of a committed delivery; starting it again is harmless.

        Raises:
            Unavailable: Temporal does not answer; the delivery is started later.
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
    """What became of a tenant's workflow executions.

    Attributes:
        deleted: Those that were deleted with their histories.
        left: Those that could not be; the namespace's retention ends them.
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
    """The workflows that delete tenants, and what they delete."""

    async def start_deletion(self, tenant_id: str) -> None:
        """Starts the deletion of a tenant, or lets one that was ended from outside go on; twice is harmless.

        Raises:
            Unavailable: Temporal does not answer; the sweeper starts it later.
        """
        ...
