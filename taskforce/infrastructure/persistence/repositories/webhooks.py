"""Repository of webhooks in PostgreSQL, with encrypted secrets."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from models.tables.webhooks import WebhookRow
from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.endpoint import FixedWebhooks, Secrets, Webhook, WebhookFormat
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer, Place
from taskforce.infrastructure.persistence.connection import Connection, Query, Row
from taskforce.infrastructure.persistence.repository import Repository, newest, storable, table, where

WEBHOOKS = table(WebhookRow)
_SECRETS = ("secret", "previous_secret", "previous_until")
# Secrets are read and decrypted by their own queries only, for those who sign or rotate.
_OPENLY = [column for column in WEBHOOKS.c if column.name not in _SECRETS]
_OF = where(WEBHOOKS, "webhook_id")
_ADD = Query(sa.insert(WEBHOOKS))
_GET = Query(sa.select(*_OPENLY).where(_OF))
_LOCK = Query(sa.select(*_OPENLY).where(_OF).with_for_update())
_TARGET = Query(sa.select(WEBHOOKS).where(_OF))
_SEALED = Query(sa.select(*(WEBHOOKS.c[name] for name in _SECRETS)).where(_OF))
_COUNT = Query(sa.select(sa.func.count()).select_from(WEBHOOKS).where(where(WEBHOOKS)))
# Of two concurrent additions the second waits, and then counts the first's row.
_LOCK_ALL = Query(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('webhooks:' || :tenant, 0))"))
_CHANGED = ("url", "events", "enabled", "disabled_by", "description", "updated_at")
_SAVE = Query(sa.update(WEBHOOKS).where(_OF), sets=_CHANGED)
_KEEP = Query(sa.update(WEBHOOKS).where(_OF), sets=(*_SECRETS, "updated_at"))
_REMOVE = Query(sa.delete(WEBHOOKS).where(_OF))


class WebhookRepository(Repository):
    """Stores the tenant's webhooks, and finds those of the deployment by `target` only; fulfils `Webhooks`.

    Args:
        connection: The connection, in a transaction.
        tenant_id: The tenant.
        sealer: Encrypts and decrypts the secrets.
        fixed: The deployment's own webhooks.
    """

    def __init__(self, connection: Connection, tenant_id: str, sealer: ColumnSealer, fixed: FixedWebhooks) -> None:
        super().__init__(connection, tenant_id)
        self._sealer = sealer
        self._fixed = fixed

    async def add(self, webhook: Webhook, secrets: Secrets) -> None:
        """Adds a webhook."""
        made = {
            "tenant_id": self._tenant_id,
            "webhook_id": webhook.webhook_id,
            "format": webhook.format.value,
            "definition_id": webhook.definition_id,
            "created_by": webhook.created_by,
            "created_at": webhook.created_at,
        }
        sealed = self._sealed(webhook.webhook_id, secrets)
        await self._connection.change(_ADD, {**made, **_changing(webhook), **sealed})

    async def count(self) -> int:
        """Returns the number of webhooks, and blocks additions until this transaction ends."""
        await self._connection.value(_LOCK_ALL, {"tenant": self._tenant_id})
        return int(await self._connection.value(_COUNT, self._of()))

    async def get(self, webhook_id: str) -> Webhook | None:
        """Returns one webhook of the tenant's own."""
        row = await self._connection.first(_GET, self._of(webhook_id=webhook_id))
        return None if row is None else _webhook(row)

    async def locked(self, webhook_id: str) -> Webhook | None:
        """Returns a webhook as `get` does, locked until this transaction ends."""
        row = await self._connection.first(_LOCK, self._of(webhook_id=webhook_id))
        return None if row is None else _webhook(row)

    async def page(self, page: Page) -> Sequence[Webhook]:
        """Returns a page of the tenant's own webhooks, newest first."""
        query = sa.select(*_OPENLY).where(WEBHOOKS.c.tenant_id == self._tenant_id)
        rows = await self._listed(newest(query, WEBHOOKS.c.created_at, WEBHOOKS.c.webhook_id, page))
        return [_webhook(row) for row in rows]

    async def save(self, webhook: Webhook) -> None:
        """Replaces what may change."""
        values = {**self._of(webhook_id=webhook.webhook_id), **_changing(webhook)}
        await self._connection.change(_SAVE, values)

    async def remove(self, webhook_id: str) -> bool:
        """Removes a webhook with its secrets; False when there was none."""
        return await self._connection.change(_REMOVE, self._of(webhook_id=webhook_id)) > 0

    async def secrets(self, webhook_id: str) -> Secrets:
        """Decrypts the secrets of one of the tenant's own."""
        return self._opened(webhook_id, await self._connection.one(_SEALED, self._of(webhook_id=webhook_id)))

    async def keep_secrets(self, webhook_id: str, secrets: Secrets, now: datetime) -> None:
        """Replaces the secrets of one of the tenant's own."""
        values = {**self._of(webhook_id=webhook_id), **self._sealed(webhook_id, secrets), "updated_at": now}
        await self._connection.change(_KEEP, values)

    async def target(self, webhook_id: str) -> tuple[Webhook, Secrets] | None:
        """Returns what a delivery needs; the deployment's own webhooks are found too."""
        fixed = self._fixed.get(webhook_id)
        if fixed is not None:
            return fixed.webhook, fixed.secrets
        row = await self._connection.first(_TARGET, self._of(webhook_id=webhook_id))
        return None if row is None else (_webhook(row), self._opened(webhook_id, row))

    def _place(self, webhook_id: str, column: str) -> Place:
        return Place(self._tenant_id, WEBHOOKS.name, column, webhook_id)

    def _sealed(self, webhook_id: str, secrets: Secrets) -> dict[str, object]:
        current = self._sealer.seal(secrets.current, self._place(webhook_id, "secret"))
        previous = None
        if secrets.previous is not None:
            previous = self._sealer.seal(secrets.previous, self._place(webhook_id, "previous_secret"))
        return {"secret": current, "previous_secret": previous, "previous_until": secrets.previous_until}

    def _opened(self, webhook_id: str, row: Row) -> Secrets:
        current = self._sealer.open(row.secret, self._place(webhook_id, "secret"))
        previous = None
        if row.previous_secret is not None:
            previous = self._sealer.open(row.previous_secret, self._place(webhook_id, "previous_secret"))
        return Secrets(current, previous, row.previous_until)


def _changing(webhook: Webhook) -> dict[str, object]:
    return {
        "url": webhook.url,
        "events": None if webhook.events is None else list(webhook.events),
        "enabled": webhook.enabled,
        "disabled_by": webhook.disabled_by,
        "description": storable(webhook.description),
        "updated_at": webhook.updated_at,
    }


def _webhook(row: Row) -> Webhook:
    return Webhook(
        webhook_id=row.webhook_id,
        url=row.url,
        format=WebhookFormat(row.format),
        events=None if row.events is None else tuple(row.events),
        definition_id=row.definition_id,
        enabled=row.enabled,
        disabled_by=row.disabled_by,
        description=row.description,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
