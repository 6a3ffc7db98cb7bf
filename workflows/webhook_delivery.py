"""The workflow of a delivery to a webhook: attempts with growing waits, over days if needed."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

from workflows.runtime.activity_calls import deliver, run_local, stop_if_cancelled
from workflows.runtime.markdown import escaped
from workflows.runtime.search_attributes import STATUS

with workflow.unsafe.imports_passed_through():
    from models.messages.webhooks import DeliveryInput, DeliveryOutcome, DeliveryTry


@workflow.defn(name="WebhookDelivery")
class WebhookDelivery:
    """A delivery: attempts until the receiver accepts it or no attempt is left."""

    @workflow.init
    def __init__(self, start: DeliveryInput) -> None:
        self._start = start
        self._told: list[str] = []

    @workflow.run
    async def run(self, start: DeliveryInput) -> str:
        """Makes the attempts; returns the final status."""
        try:
            outcome = await self._deliver()
        except (asyncio.CancelledError, FailureError) as error:
            # Nobody else would close the row of a cancelled delivery.
            if is_cancelled_exception(error):
                await run_local("stop_delivery", start)
            raise
        workflow.upsert_search_attributes([STATUS.value_set(outcome.status)])
        return outcome.status

    async def _deliver(self) -> DeliveryOutcome:
        number = 1
        while True:
            outcome = await deliver(self._try(number), DeliveryOutcome, f"attempt {number}")
            if outcome.wait_seconds is None:
                self._describe(f"{outcome.summary}; {outcome.status}")
                return outcome
            stop_if_cancelled()
            wait, number = timedelta(seconds=outcome.wait_seconds), number + 1
            due = workflow.now() + wait
            self._describe(f"{outcome.summary}; next at {due.isoformat(timespec='seconds')}")
            await workflow.sleep(wait, summary=f"until attempt {number}")

    def _try(self, number: int) -> DeliveryTry:
        return DeliveryTry(tenant_id=self._start.tenant_id, delivery_id=self._start.delivery_id, number=number)

    def _describe(self, line: str) -> None:
        self._told.append(f"- {escaped(line)}")
        workflow.set_current_details("\n".join(self._told))
