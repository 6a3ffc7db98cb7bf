"""Webhooks of a tenant: created, changed, deleted, with rotation of their secrets."""

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
    """A webhook to be created.

    Attributes:
        url: The URL of the receiver.
        format: The format of deliveries.
        events: The names of its events; None is all events.
        definition_id: The approval definition whose requests it receives; None is all.
        enabled: Whether deliveries are made.
        description: The description, for people.
        secret: A secret of the caller's; None generates one.
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
    """The changed fields of a webhook; None leaves a field as it is.

    Attributes:
        url, enabled, description: As in `NewWebhook`.
        events: The names of all its events from now on.
        all_events: Whether it receives all events, in place of `events`.
    """

    url: str | None = None
    events: tuple[str, ...] | None = None
    all_events: bool = False
    enabled: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookWithSecret:
    """A webhook with its secrets, after creation or rotation only.

    Attributes:
        webhook: The webhook.
        secrets: Its secrets; the current one is to be shown once.
    """

    webhook: Webhook
    secrets: Secrets = field(repr=False)


async def create_webhook(
    store: Store, actor: Actor, urls: WebhookUrls, new: NewWebhook, rules: DefinitionRules
) -> WebhookWithSecret:
    """Creates a webhook.

    Args:
        store: The tenants' data.
        actor: The caller.
        urls: The deployment's rules for receivers' URLs.
        new: The webhook.
        rules: The deployment's approval definitions.

    Raises:
        Missing: `workflow_not_found`: there is no such definition.
        Invalid: `webhook_url_invalid`, `webhook_secret_invalid`, `events_unknown`, `definition_id_invalid` or
            `description_invalid`.
        Conflict: `webhooks_too_many`.
        Unavailable: `encryption_key_missing`.
        Forbidden: As `require_current`.
    """
    urls.check(new.url)
    secret = new_secret() if new.secret is None else checked_secret(new.secret, new.format)
    made = Webhook(
        webhook_id=new_id(),
        url=new.url,
        format=new.format,
        events=new.events,
        definition_id=new.definition_id,
        enabled=new.enabled,
        disabled_by=None if new.enabled else "person",
        description=new.description,
        created_by=actor.principal.user.user_id,
        created_at=actor.now,
        updated_at=actor.now,
    )
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        # Again and locked: the right may have been withdrawn since the request was authorized.
        await require_current(records, actor, Permission.POLICY_MANAGE)
        if made.definition_id is not None:
            await known(records, rules, made.definition_id)
        # The count locks: of two that come at once the second sees the first.
        if await records.webhooks.count() >= MOST_WEBHOOKS:
            raise Conflict("webhooks_too_many", f"A tenant has at most {MOST_WEBHOOKS} webhooks.")
        await records.webhooks.add(made, Secrets(secret))
        await records.audit.append(webhook_event(actor, "webhook.create", made, _changed(None, made)))
    return WebhookWithSecret(made, Secrets(secret))


async def list_webhooks(store: Store, actor: Actor, page: Page) -> Sequence[Webhook]:
    """Lists a page of the tenant's webhooks, newest first."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.webhooks.page(page)


async def find_webhook(store: Store, actor: Actor, webhook_id: str) -> Webhook:
    """Finds a webhook.

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
    """Changes a webhook; disabling it also stops deliveries that wait for another attempt.

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
            # What waits for another attempt would be sent to a receiver that was switched off.
            await records.deliveries.stop_all(webhook_id, actor.now)
        await records.audit.append(webhook_event(actor, "webhook.change", changed, _changed(webhook, changed)))
    return changed


async def rotate_secret(
    store: Store, actor: Actor, webhook_id: str, secret: str | None, overlap: timedelta
) -> WebhookWithSecret:
    """Rotates a webhook's secret; deliveries are signed with both secrets until the overlap ends.

    Args:
        store: The tenants' data.
        actor: The caller.
        webhook_id: The webhook.
        secret: A secret of the caller's; None generates one.
        overlap: How long the old secret is used beside the new one.

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
    """Deletes a webhook with its secrets, and stops deliveries that wait for another attempt.

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
    """Builds the audit event of an action on a webhook; details must hold no secret."""
    return actor.event(action, "webhook", webhook.webhook_id, **details)


def destination(webhook: Webhook) -> str:
    """Returns the origin of a webhook's URL, for logs: path and query may be a secret of the receiver."""
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
