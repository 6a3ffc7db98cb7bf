"""Webhooks of a tenant: made, changed, rotated and removed by people; told of events by what brings them about."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from taskforce.application.approvals.definitions import known
from taskforce.application.identity.principals import Actor
from taskforce.application.identity.roles import require_current
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.endpoint import (
    MOST_WEBHOOKS,
    Secrets,
    Webhook,
    WebhookFormat,
    checked_secret,
    new_secret,
)
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.repositories.webhooks import WebhookUrls
from taskforce.core.interfaces.store import Records, Store

_ORIGIN = re.compile(r"[^/?#]*//[^/?#]*")


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook that shall be made.

    Attributes:
        url: Where deliveries go.
        format: How they look.
        events: What it wants to be told; None is everything.
        definition_id: The only approval definition whose requests it is told of; None is any.
        enabled: Whether deliveries are made.
        description: For people.
        secret: A secret that the caller brings along; None for a new one.
    """

    url: str
    format: WebhookFormat = WebhookFormat.STANDARD
    events: tuple[str, ...] | None = None
    definition_id: str | None = None
    enabled: bool = True
    description: str = ""
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """What shall be different; None stays as it is.

    Attributes:
        url, enabled, description: As in `NewWebhook`.
        events: All that it wants to be told from now on.
        all_events: Whether it wants to be told everything, in place of `events`.
    """

    url: str | None = None
    events: tuple[str, ...] | None = None
    all_events: bool = False
    enabled: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookWithSecret:
    """A webhook at the only moments at which its secret is known.

    Attributes:
        webhook: The webhook.
        secrets: Its secrets, of which the current one is to be shown once.
    """

    webhook: Webhook
    secrets: Secrets = field(repr=False)


async def create_webhook(
    store: Store, actor: Actor, urls: WebhookUrls, wanted: NewWebhook, rules: DefinitionRules
) -> WebhookWithSecret:
    """Makes a webhook.

    Args:
        store: The door to the tenant's data.
        actor: Who makes it.
        urls: Where webhooks may lead.
        wanted: The webhook.
        rules: What the deployment says about approvals.

    Raises:
        Missing: `workflow_not_found`: there is no such definition.
        Invalid: `webhook_url_invalid`, `webhook_secret_invalid`, `events_unknown`, `definition_id_invalid` or
            `description_invalid`.
        Conflict: `webhooks_too_many`.
        Unavailable: `encryption_key_missing`.
        Forbidden: As `require_current`.
    """
    urls.check(wanted.url)
    secret = new_secret() if wanted.secret is None else checked_secret(wanted.secret, wanted.format)
    made = Webhook(
        webhook_id=new_id(),
        url=wanted.url,
        format=wanted.format,
        events=wanted.events,
        definition_id=wanted.definition_id,
        enabled=wanted.enabled,
        disabled_by=None if wanted.enabled else "person",
        description=wanted.description,
        created_by=actor.principal.user.user_id,
        created_at=actor.now,
        updated_at=actor.now,
    )
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await require_current(records, actor, Permission.POLICY_MANAGE)
        if made.definition_id is not None:
            await known(records, rules, made.definition_id)
        if await records.webhooks.count() >= MOST_WEBHOOKS:
            raise Conflict("webhooks_too_many", f"A tenant has at most {MOST_WEBHOOKS} webhooks.")
        await records.webhooks.add(made, Secrets(secret))
        await records.audit.append(webhook_event(actor, "webhook.create", made, _changed(None, made)))
    return WebhookWithSecret(made, Secrets(secret))


async def list_webhooks(store: Store, actor: Actor, page: Page) -> Sequence[Webhook]:
    """A page of the tenant's webhooks, newest first."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.webhooks.page(page)


async def find_webhook(store: Store, actor: Actor, webhook_id: str) -> Webhook:
    """One webhook.

    Raises:
        Missing: `webhook_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        webhook = await records.webhooks.get(webhook_id)
    if webhook is None:
        raise missing("webhook")
    return webhook


async def change_webhook(
    store: Store, actor: Actor, urls: WebhookUrls, webhook_id: str, change: WebhookChange
) -> Webhook:
    """Changes a webhook; one that is disabled sends nothing more, also of what waited for another attempt.

    Raises:
        Missing: `webhook_not_found`.
        Invalid: `webhook_url_invalid`, `events_unknown` or `description_invalid`.
        Forbidden: As `require_current`.
    """
    if change.url is not None:
        urls.check(change.url)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await require_current(records, actor, Permission.POLICY_MANAGE)
        webhook = await _locked(records, webhook_id)
        changed = _with(webhook, change, actor.now)
        await records.webhooks.save(changed)
        if not changed.enabled:
            await records.deliveries.stop_all(webhook_id, actor.now)
        await records.audit.append(webhook_event(actor, "webhook.change", changed, _changed(webhook, changed)))
    return changed


async def rotate_secret(
    store: Store, actor: Actor, webhook_id: str, secret: str | None, overlap: timedelta
) -> WebhookWithSecret:
    """Gives a webhook another secret; deliveries are signed with the old one too until the overlap ends.

    Raises:
        Missing: `webhook_not_found`.
        Invalid: `webhook_secret_invalid` or `overlap_invalid`.
        Unavailable: `encryption_key_missing` or `encryption_key_wrong`.
        Forbidden: As `require_current`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await require_current(records, actor, Permission.POLICY_MANAGE)
        webhook = await _locked(records, webhook_id)
        following = new_secret() if secret is None else checked_secret(secret, webhook.format)
        secrets = (await records.webhooks.secrets(webhook_id)).rotated(following, actor.now, overlap)
        await records.webhooks.keep_secrets(webhook_id, secrets, actor.now)
        until = secrets.previous_until.isoformat() if secrets.previous_until else None
        await records.audit.append(webhook_event(actor, "webhook.rotate", webhook, {"previous_until": until}))
    return WebhookWithSecret(replace(webhook, updated_at=actor.now), secrets)


async def delete_webhook(store: Store, actor: Actor, webhook_id: str) -> None:
    """Removes a webhook with its secrets; nothing more is sent, also of what waited for another attempt.

    Raises:
        Missing: `webhook_not_found`.
        Forbidden: As `require_current`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await require_current(records, actor, Permission.POLICY_MANAGE)
        webhook = await _locked(records, webhook_id)
        await records.webhooks.remove(webhook_id)
        await records.deliveries.stop_all(webhook_id, actor.now)
        await records.audit.append(webhook_event(actor, "webhook.delete", webhook, _changed(webhook, None)))


def webhook_event(actor: Actor, action: str, webhook: Webhook, details: Mapping[str, object]) -> AuditEvent:
    """What the audit log is told of somebody's act; never a secret."""
    return actor.event(action, "webhook", webhook.webhook_id, **details)


def destination(webhook: Webhook) -> str:
    """Where a webhook leads, for logs: a URL's path and query may be a secret of its receiver's."""
    found = _ORIGIN.match(webhook.url)
    return found[0] if found else ""


async def _locked(records: Records, webhook_id: str) -> Webhook:
    webhook = await records.webhooks.locked(webhook_id)
    if webhook is None:
        raise missing("webhook")
    return webhook


def _with(webhook: Webhook, change: WebhookChange, now: datetime) -> Webhook:
    kept = webhook.events if change.events is None else change.events
    changed = replace(
        webhook.switched(change.enabled, now),
        url=webhook.url if change.url is None else change.url,
        events=None if change.all_events else kept,
        description=webhook.description if change.description is None else change.description,
    )
    return replace(changed, updated_at=now)


def _changed(before: Webhook | None, after: Webhook | None) -> dict[str, object]:
    return {"before": _audit_snapshot(before), "after": _audit_snapshot(after)}


def _audit_snapshot(webhook: Webhook | None) -> dict[str, object] | None:
    if webhook is None:
        return None
    return {
        "destination": destination(webhook),
        "format": webhook.format.value,
        "events": "all" if webhook.events is None else list(webhook.events),
        "definition_id": webhook.definition_id,
        "enabled": webhook.enabled,
        "description": webhook.description,
    }
