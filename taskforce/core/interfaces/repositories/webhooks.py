"""What the use cases of webhooks ask of storage, within one transaction of one tenant, and of the way out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.delivery import Answered, Attempt, Delivery, DeliveryState
from taskforce.core.domain.webhooks.endpoint import Secrets, Webhook
from taskforce.core.domain.webhooks.signatures import Happened


class Webhooks(Protocol):
    """The tenant's webhooks; the deployment's own, which every tenant has, are found as targets only."""

    async def add(self, webhook: Webhook, secrets: Secrets) -> None:
        """Adds a webhook.

        Raises:
            Unavailable: `encryption_key_missing`: there is no key to seal the secret with.
        """
        ...

    async def count(self) -> int:
        """How many there are; nobody else adds one before this transaction ends."""
        ...

    async def get(self, webhook_id: str) -> Webhook | None:
        """One webhook of the tenant's own."""
        ...

    async def locked(self, webhook_id: str) -> Webhook | None:
        """As `get`, and nobody else changes it before this transaction ends; read so before `save`."""
        ...

    async def page(self, page: Page) -> Sequence[Webhook]:
        """A page of the tenant's own, newest first."""
        ...

    async def save(self, webhook: Webhook) -> None:
        """Replaces what may change."""
        ...

    async def remove(self, webhook_id: str) -> bool:
        """Removes a webhook with its secrets; False when there was none."""
        ...

    async def secrets(self, webhook_id: str) -> Secrets:
        """Opens the secrets of one of the tenant's own.

        Raises:
            Unavailable: `encryption_key_missing` or `encryption_key_wrong`.
        """
        ...

    async def keep_secrets(self, webhook_id: str, secrets: Secrets, now: datetime) -> None:
        """Replaces the secrets of one of the tenant's own.

        Raises:
            Unavailable: `encryption_key_missing`.
        """
        ...

    async def target(self, webhook_id: str) -> tuple[Webhook, Secrets] | None:
        """What a delivery needs; the deployment's own webhooks are found too.

        Raises:
            Unavailable: `encryption_key_missing` or `encryption_key_wrong`.
        """
        ...


class Deliveries(Protocol):
    """What is sent to webhooks."""

    async def queue(self, what: Happened, definition_id: str | None) -> None:
        """Queues a delivery to each webhook that wants the event; written at the latest when the transaction ends."""
        ...

    async def add(self, delivery: Delivery) -> None:
        """Queues one delivery."""
        ...

    async def get(self, delivery_id: str) -> Delivery | None:
        """One delivery with its attempts."""
        ...

    async def begin(self, delivery_id: str) -> Delivery | None:
        """As `get`; one that was only queued is under way from now on."""
        ...

    async def page(self, webhook_id: str, page: Page) -> Sequence[Delivery]:
        """A page of a webhook's deliveries with their attempts, newest first."""
        ...

    async def tried(self, delivery_id: str, attempt: Attempt, state: DeliveryState, now: datetime) -> None:
        """Keeps an attempt, and where an open delivery stands after it; what is kept already stays as it is."""
        ...

    async def stop(self, delivery_id: str, now: datetime) -> None:
        """Ends an open delivery without sending it."""
        ...

    async def stop_all(self, webhook_id: str, now: datetime) -> int:
        """Ends all open deliveries of a webhook without sending them, and says how many there were."""
        ...


class QueuedDeliveries(Protocol):
    """The door to what waits to be started, whosever it is."""

    async def queued_deliveries(self, before: datetime, most: int) -> Sequence[tuple[str, str, str]]:
        """(tenant, delivery, event) of deliveries that were queued before a time and have not begun."""
        ...


class WebhookPost(Protocol):
    """The one way out to the network, as webhooks use it."""

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, seconds: float, most_bytes: int
    ) -> Answered:
        """Sends a body, follows no redirect, and keeps the beginning of what comes back.

        Returns:
            The answer, or why there was none.
        """
        ...


class WebhookUrls(Protocol):
    """Which URLs a webhook may have in this deployment."""

    def check(self, url: str) -> None:
        """Refuses what would never be sent.

        Raises:
            Invalid: `webhook_url_invalid`.
        """
        ...
