"""Activities of the `WebhookDelivery` workflow."""

from temporalio import activity

from models.messages.webhooks import DeliveryInput, DeliveryOutcome, DeliveryTry
from taskforce.application.webhooks.delivery import DeliveryAttempts


class WebhookActivities:
    """The activities that attempt and stop a delivery.

    Args:
        delivering: The use cases of deliveries.
    """

    def __init__(self, delivering: DeliveryAttempts) -> None:
        self._delivering = delivering

    @activity.defn(name="attempt_delivery")
    async def attempt_delivery(self, attempt: DeliveryTry) -> DeliveryOutcome:
        """Makes one attempt of a delivery, and returns the wait before the next one."""
        made = await self._delivering.attempt(attempt.tenant_id, attempt.delivery_id, attempt.number)
        waits = {} if made.wait is None else {"wait_seconds": made.wait.total_seconds()}
        return DeliveryOutcome(status=made.status.value, summary=made.summary, **waits)

    @activity.defn(name="stop_delivery")
    async def stop_delivery(self, which: DeliveryInput) -> None:
        """Stops a delivery whose workflow was cancelled."""
        await self._delivering.stop(which.tenant_id, which.delivery_id)
