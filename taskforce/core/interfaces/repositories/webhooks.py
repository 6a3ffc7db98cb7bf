"""The repositories of webhooks and deliveries, and the protocols of their outbound HTTP."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.delivery import Answered, Attempt, Delivery, DeliveryState
from taskforce.core.domain.webhooks.endpoint import Secrets, Webhook
from taskforce.core.domain.webhooks.signatures import WebhookMessage


class Webhooks(Protocol):
    """The repository of the tenant's webhooks; those of the deployment are found by `target` only."""

    async def add(self, webhook: Webhook, secrets: Secrets) -> None:
        """Adds a webhook.

        Raises:
            Unavailable: `encryption_key_missing` when there is no key to encrypt the secret with.
        """
        ...

    async def count(self) -> int:
        """Returns the number of webhooks, and locks it for this transaction."""
        ...

    async def get(self, webhook_id: str) -> Webhook | None:
        """Returns a webhook of the tenant; None without one."""
        ...

    async def locked(self, webhook_id: str) -> Webhook | None:
        """Returns a webhook of the tenant and locks it for this transaction; call before `save`."""
        ...

    async def page(self, page: Page) -> Sequence[Webhook]:
        """Returns a page of the tenant's webhooks, newest first."""
        ...

    async def save(self, webhook: Webhook) -> None:
        """Updates the mutable fields of a webhook."""
        ...

    async def remove(self, webhook_id: str) -> bool:
        """Removes a webhook with its secrets; False without one."""
        ...

    async def secrets(self, webhook_id: str) -> Secrets:
        """Decrypts the secrets of a webhook of the tenant.

        Raises:
            Unavailable: `encryption_key_missing` or `encryption_key_wrong`.
        """
        ...

    async def keep_secrets(self, webhook_id: str, secrets: Secrets, now: datetime) -> None:
        """Replaces the secrets of a webhook of the tenant.

        Raises:
            Unavailable: `encryption_key_missing`.
        """
        ...

    async def target(self, webhook_id: str) -> tuple[Webhook, Secrets] | None:
        """Returns webhook and secrets for a delivery, of the tenant or the deployment; None without one.

        Raises:
            Unavailable: `encryption_key_missing` or `encryption_key_wrong`.
        """
        ...


class Deliveries(Protocol):
    """The repository of deliveries to webhooks."""

    async def queue(self, message: WebhookMessage, definition_id: str | None) -> None:
        """Queues a delivery to each webhook subscribed to the event; written at commit at the latest."""
        ...

    async def add(self, delivery: Delivery) -> None:
        """Queues one delivery."""
        ...

    async def get(self, delivery_id: str) -> Delivery | None:
        """Returns a delivery with its attempts; None without one."""
        ...

    async def begin(self, delivery_id: str) -> Delivery | None:
        """Returns a delivery with its attempts, and marks a queued one as pending."""
        ...

    async def page(self, webhook_id: str, page: Page) -> Sequence[Delivery]:
        """Returns a page of a webhook's deliveries with their attempts, newest first."""
        ...

    async def tried(self, delivery_id: str, attempt: Attempt, state: DeliveryState, now: datetime) -> None:
        """Adds an attempt and updates the state of an open delivery; an attempt that exists is left unchanged."""
        ...

    async def stop(self, delivery_id: str, now: datetime) -> None:
        """Stops an open delivery without sending it."""
        ...

    async def stop_all(self, webhook_id: str, now: datetime) -> int:
        """Stops all open deliveries of a webhook without sending them; returns their number."""
        ...


CAUSES = 10_000
"""Events at most of which a process knows in which span they happened, until their deliveries are started."""


class QueuedTenants:
    """The tenants for whom this process may have queued deliveries that are not started yet."""

    def __init__(self) -> None:
        self._tenants: set[str] = set()
        self._causes: dict[str, str] = {}
        self._some = asyncio.Event()

    def add(self, *tenants: str) -> None:
        """Adds tenants, and wakes who waits."""
        self._tenants.update(tenants)
        if tenants:
            self._some.set()

    def follow(self, event_ids: Iterable[str], traceparent: str) -> None:
        """Notes the span in which events happened; the oldest notes are dropped beyond `CAUSES`."""
        self._causes.update(dict.fromkeys(event_ids, traceparent))
        while len(self._causes) > CAUSES:
            del self._causes[next(iter(self._causes))]

    def cause(self, event_id: str) -> str | None:
        """Returns the `traceparent` of the span in which an event happened; None where this process does not know."""
        return self._causes.get(event_id)

    async def wait(self) -> None:
        """Waits until there are some."""
        await self._some.wait()

    def take(self) -> Sequence[str]:
        """Returns them, by id, and forgets them."""
        taken, self._tenants = sorted(self._tenants), set()
        self._some.clear()
        return taken


class WebhookPost(Protocol):
    """The outbound HTTP client of webhooks."""

    async def post(
        self, url: str, *, tenant_id: str, headers: Mapping[str, str], body: bytes, seconds: float, most_bytes: int
    ) -> Answered:
        """Posts a body without following redirects, and reads the beginning of the response.

        Args:
            url: The receiver.
            tenant_id: The tenant, whose share of lookups is used.
            headers: The headers.
            body: The body.
            seconds: Time for the response's head, and for its body.
            most_bytes: How much of the body is kept.

        Returns:
            The response, or the reason why there was none.
        """
        ...


class WebhookUrls(Protocol):
    """The deployment's rules for URLs of webhooks."""

    def check(self, url: str) -> None:
        """Requires a URL that deliveries can be sent to.

        Raises:
            Invalid: `webhook_url_invalid`.
        """
        ...
