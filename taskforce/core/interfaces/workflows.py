"""What use cases ask of workflows that are under way."""

from dataclasses import dataclass
from typing import Protocol


class RunSignals(Protocol):
    """The way to the workflows of runs."""

    async def signal_run(self, tenant_id: str, run_id: str, signal: str, *arguments: str) -> None:
        """Tells a run that something has changed.

        Raises:
            Missing: It has no workflow.
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


class Executions(Protocol):
    """The tenant's workflows in Temporal."""

    async def cancel_run(self, tenant_id: str, run_id: str) -> None:
        """Asks a run to end.

        Raises:
            Missing: It has no workflow.
            Unavailable: Temporal does not answer.
        """
        ...

    async def forget_tenant(self, tenant_id: str) -> Forgotten:
        """Deletes the tenant's closed executions.

        Raises:
            Unavailable: Temporal does not answer.
        """
        ...
