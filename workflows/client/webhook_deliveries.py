"""The Temporal client of deliveries to webhooks."""

from datetime import datetime

from models.messages.webhooks import DeliveryInput
from taskforce.core.domain.webhooks.delivery import delivery_of, workflow_id
from taskforce.core.interfaces.workflows import DeliveryWorkflows, Ended, WorkflowState
from workflows.client.executions import WorkflowExecutions
from workflows.runtime import search_attributes
from workflows.webhook_delivery import WebhookDelivery


class DeliveryClient(DeliveryWorkflows):
    """Starts the workflows of deliveries.

    Args:
        executions: The workflow executions.
    """

    def __init__(self, executions: WorkflowExecutions) -> None:
        self._executions = executions

    async def start(self, tenant_id: str, delivery_id: str, event: str) -> bool:
        """Starts the workflow of a committed delivery; idempotent."""
        return await self._executions.start(
            WebhookDelivery.run,
            DeliveryInput(tenant_id=tenant_id, delivery_id=delivery_id),
            workflow_id=workflow_id(tenant_id, delivery_id),
            attributes={search_attributes.TENANT: tenant_id},
            summary=f"{event} to a webhook",
            noun="delivery",
        )

    async def state(self, tenant_id: str, delivery_id: str) -> WorkflowState:
        """Returns what has become of a delivery's workflow."""
        return await self._executions.state(workflow_id(tenant_id, delivery_id))

    async def ended_from_outside(self, since: datetime) -> Ended:
        """Lists deliveries whose workflow was terminated after a time."""
        found = map(delivery_of, await self._executions.ended("WebhookDelivery", since))
        return [one for one in found if one is not None]
