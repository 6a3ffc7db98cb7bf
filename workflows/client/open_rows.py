"""Open rows and their workflows: started where a crash left a row without one, settled where one has ended."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from taskforce.core.interfaces.due_rows import DueRow
from taskforce.core.interfaces.workflows import WorkflowState

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenRows:
    """The open rows of a noun.

    Attributes:
        noun: The noun, for the log.
        state: Tells what has become of a row's workflow.
        start: Starts a row's workflow; a second start changes nothing.
        settle: Closes a row that its workflow cannot close any more; a closed one stays as it is.
    """

    noun: str
    state: Callable[[str, str], Awaitable[WorkflowState]]
    start: Callable[[str, DueRow], Awaitable[bool]]
    settle: Callable[[str, str], Awaitable[None]]

    async def start_late(self, tenant_id: str, row: DueRow) -> bool:
        """Starts the workflow of a row that has not begun, unless it has one; always returns True.

        Safe beside the start by whoever has committed the row: the workflow id is unique.

        Raises:
            DomainError: It could not be started or settled.
        """
        state = await self.state(tenant_id, row.row_id)
        if state is WorkflowState.ABSENT:
            if await self.start(tenant_id, row):
                _log.info("workflow.started_late", noun=self.noun, tenant_id=tenant_id, id=row.row_id)
        elif state is WorkflowState.CLOSED:
            await self.end(tenant_id, row.row_id)
        return True

    async def check(self, tenant_id: str, row: DueRow) -> bool:
        """Settles a row that has begun and whose workflow is gone; always returns True.

        Raises:
            DomainError: It could not be settled.
        """
        if await self.state(tenant_id, row.row_id) is not WorkflowState.OPEN:
            await self.end(tenant_id, row.row_id)
        return True

    async def end(self, tenant_id: str, row_id: str) -> None:
        """Settles a row."""
        await self.settle(tenant_id, row_id)
        _log.info("workflow.settled", noun=self.noun, tenant_id=tenant_id, id=row_id)
